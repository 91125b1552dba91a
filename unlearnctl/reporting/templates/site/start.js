// A section exists only if some run has something for it.
for (const [id, start] of Object.entries({
  table: tableOfRuns, "trade-chart": tradeOff, "curves-chart": curvesOfRuns, "subjects-bars": subjectBars,
  "samples-list": replies, "probes-chart": probesByLayer, "weights-texts": tokenWeights, "diff-rows": settingsThatDiffer,
})) if (byId(id)) start();
