// Texts: replies before and after, token weights, and the settings in which two runs differ.
const FIRST = 6; // replies, until more are asked for

function replies() {
  let found = {};
  const list = byId("samples-list"), more = byId("samples-more");
  const show = (name, limit = FIRST) => {
    list.replaceChildren(...found[name].slice(0, limit).map(reply));
    more.hidden = found[name].length <= limit;
    more.textContent = `Show all ${found[name].length}`;
    more.onclick = () => show(name, Infinity);
  };
  chooseRun(byId("samples-run"), "samples", (samples) => {
    found = samples;
    const names = Object.keys(found);
    choose(byId("samples-what"), names.map((name) => [name, name]), (name) => show(name), names.indexOf(byId("samples-what").value));
  });
}

function reply([prompt, before, after, beforeScore, afterScore, [bad, badBefore, badAfter]]) {
  const text = (name, said, toxic) => html(name, toxic ? { class: "toxic" } : {}, said);
  const side = (heading, said, score, toxic) => html("div", { class: "side" },
    html("p", { class: "quiet" }, heading, ...(score === null ? [] : [html("span", { class: `pill ${toxic ? "warn" : "ok"}` }, `toxicity ${score.toFixed(2)}`)])),
    said === null ? html("p", { class: "quiet" }, "not measured") : said.trim() === "" ? html("p", { class: "quiet" }, "(empty)") : text("p", said, toxic));
  return html("li", {}, text("p", prompt, bad), html("div", { class: "sides" },
    side("before ", before, beforeScore, badBefore), side("after ", after, afterScore, badAfter)));
}

function tokenWeights() {
  chooseRun(byId("weights-run"), "weights", (texts) => byId("weights-texts").replaceChildren(...texts.map((text) =>
    html("p", {}, ...text.flatMap(([token, weight, matters]) =>
      [html("span", { class: `w${Math.round(10 * weight)}${matters ? " true" : ""}`, title: `weight ${weight.toFixed(2)}` }, token), " "])))));
}

function settingsThatDiffer() {
  const state = { a: 0, b: DATA.runs.length > 1 ? 1 : 0 };
  const draw = () => {
    const [a, b] = [DATA.runs[state.a].config, DATA.runs[state.b].config];
    const found = DATA.keys.flatMap((key, i) => (a[i] === b[i] ? [] : [[key, a[i], b[i]]]));
    byId("diff-rows").replaceChildren(...found.map(([key, from, to]) =>
      html("tr", {}, html("th", { scope: "row" }, key), html("td", {}, from), html("td", {}, to))));
    byId("diff-said").textContent = `${found.length} of the ${DATA.keys.length} settings that differ between any two runs.`;
  };
  const options = DATA.runs.map((run, place) => [place, numbered(place)]);
  for (const side of ["a", "b"]) choose(byId(`diff-${side}`), options, (place) => { state[side] = Number(place); draw(); }, state[side]);
}
