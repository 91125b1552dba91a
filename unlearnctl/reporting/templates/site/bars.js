// Scores by subject: one bar each.
function subjectBars() {
  let groups = {}, rows = [], shared = {};
  const order = byId("subjects-order");
  const change = (row) => (row[1] === null || row[3] === null ? 0 : row[3] - row[1]);
  const ways = { name: (a, b) => a[0].localeCompare(b[0]), change: (a, b) => change(a) - change(b), after: (a, b) => (b[3] ?? -1) - (a[3] ?? -1) };
  const draw = () => byId("subjects-bars").replaceChildren(...[...rows].sort(ways[order.value]).map((row) => subject(row, shared)));
  const pick = (name) => { ({ rows, ...shared } = groups[name]); draw(); };
  order.addEventListener("change", draw);
  chooseRun(byId("subjects-run"), "subjects", (found) => {
    groups = found;
    const names = Object.keys(groups);
    choose(byId("subjects-what"), names.map((name) => [name, name]), pick, names.indexOf(byId("subjects-what").value));
  });
}

function subject([name, before, , after, half, n], { chance, goal }) {
  const at = (share) => `${100 * Math.max(0, Math.min(1, share))}%`;
  const rule = (cls, x) => drawn("line", { class: cls, x1: at(x), x2: at(x), y1: 1, y2: 17 });
  const parts = [drawn("rect", { class: "track", x: 0, y: 4, width: "100%", height: 10, rx: 2 })];
  if (after !== null) parts.push(drawn("rect", { class: `after ${goal === "lower" ? "low" : "high"}`, x: 0, y: 4, width: at(after), height: 10, rx: 2 }));
  if (after !== null && half !== null) parts.push(drawn("line", { class: "bar", x1: at(after - half), x2: at(after + half), y1: 9, y2: 9 }));
  if (chance !== null) parts.push(rule("chance", chance));
  if (before !== null) parts.push(rule("before", before));
  const said = `${before === null ? "" : `${written(before)} → `}${withError(after, half)}`;
  return html("li", {},
    html("span", { class: "name" }, name.replaceAll("_", " ")),
    drawn("svg", { width: "100%", height: 18, "aria-hidden": "true" }, ...parts),
    html("span", { class: "said" }, said, html("span", { class: "quiet" }, ` n ${n ?? "–"}`)));
}
