// Small helpers. All text goes through textContent or setAttribute, so that no data is ever parsed as HTML.
const DATA = unpack(JSON.parse(document.getElementById("data").textContent));
const byId = (id) => document.getElementById(id);

function add(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
const html = (name, attributes = {}, ...children) => add(document.createElement(name), attributes, children);
const drawn = (name, attributes = {}, ...children) =>
  add(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

const written = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−"));
const withError = (value, half, digits = 3) =>
  written(value, digits) + (value === null || half === null ? "" : ` ± ${written(half, digits)}`);
const numbered = (place) => `${place + 1}: ${DATA.runs[place].label}`;
const SERIES = 8; // colours

// Fills a select with [value, text] pairs and calls `changed` with the value, now and at each change.
function choose(select, options, changed, start = 0) {
  select.replaceChildren(...options.map(([value, text]) => html("option", { value }, text)));
  select.selectedIndex = Math.max(0, Math.min(options.length - 1, start));
  select.onchange = () => changed(select.value);
  if (options.length) changed(select.value);
}

// A select of the runs that have a part (`samples`, `weights` …).
const chooseRun = (select, part, changed) => {
  const places = DATA.runs.flatMap((run, place) => (Object.keys(run[part]).length ? [place] : []));
  choose(select, places.map((place) => [place, numbered(place)]), (place) => changed(DATA.runs[place][part]));
};
