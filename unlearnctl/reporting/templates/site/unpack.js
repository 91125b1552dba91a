// Unpack the page's data for the other scripts: what runs share is stored once (site/data.py, site/details.py).
function unpack(packed) {
  const pick = (column, place) => (Array.isArray(column) ? column[place] : column);
  const run = (place) => {
    const config = packed.config.map(([texts, places]) => texts[pick(places, place)]);
    const settings = Object.fromEntries(packed.columns.map(([name, key]) => [name, config[key]]));
    return {
      config, settings, label: packed.names ? packed.names[place] : Object.entries(settings).map((pair) => pair.join("=")).join(", "),
      values: packed.values.map((parts) => parts.map((column) => pick(column, place))),
      curves: unpackCurves(packed, packed.curves[place]), subjects: unpackSubjects(packed, packed.subjects[place] ?? {}),
      samples: unpackSamples(packed, packed.samples[place] ?? {}), weights: unpackWeights(packed, packed.weights[place] ?? []),
    };
  };
  return { ...packed, runs: Array.from({ length: packed.count }, (_, place) => run(place)) };
}

const unpackCurves = ({ lines, grids }, curves) => Object.fromEntries(curves.map(([name, grid, ...heights]) =>
  [lines[name], grids[grid].map((step, i) => [step, heights[heights.length > 1 ? i : 0]])]));

// Name, before, half of its interval, after, half of its interval, n.
const unpackSubjects = ({ heads }, groups) => Object.fromEntries(Object.entries(groups).map(([name, { goal, chance, rows }]) =>
  [name, { goal, chance, rows: Array.from({ length: rows.length / 3 }, (_, i) => {
    const [subject, n, before, half] = heads[rows[3 * i]];
    return [subject, before, half, rows[3 * i + 1], rows[3 * i + 2], n];
  }) }]));

// Prompt, reply before and after, their scores, and for each of the three texts whether to blur it.
const unpackSamples = ({ texts }, suites) => Object.fromEntries(Object.entries(suites).map(([name, pairs]) =>
  [name, pairs.map(([prompt, before, after, scoreBefore, scoreAfter, ...blur]) =>
    [texts[prompt], before === null ? null : texts[before], after === null ? null : texts[after], scoreBefore, scoreAfter, blur.map(Boolean)])]));

const unpackWeights = ({ tokens }, texts) => texts.map(([place, ...weights]) => {
  const [words, matter] = tokens[place];
  return words.map((word, i) => [word, weights[i], Boolean(matter[i])]);
});
