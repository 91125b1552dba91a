// Sort by a click or a key on a heading, filter by words; the trade-off chart follows the filter.
const visible = new Set(DATA.runs.keys());
const followers = [];

function tableOfRuns() {
  const table = byId("table"), body = table.tBodies[table.tBodies.length - 1], rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const sort = (th) => {
    const first = th.firstElementChild.dataset.first, now = th.getAttribute("aria-sort");
    const next = !now ? first : now === "ascending" ? "descending" : "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    th.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    const key = (row) => row.cells[th.cellIndex].dataset.value;
    body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b), sign)));
  };
  heads.forEach((th) => th.firstElementChild.addEventListener("click", () => sort(th)));

  const said = rows.map((row) => row.textContent.replaceAll("\u200b", "").toLowerCase());
  const filter = () => {
    const words = byId("filter").value.toLowerCase().split(/\s+/);
    visible.clear();
    rows.forEach((row, place) => {
      row.hidden = !words.every((word) => said[place].includes(word));
      if (!row.hidden) visible.add(place);
    });
    byId("shown").textContent = `${visible.size} of ${rows.length} runs`;
    followers.forEach((follow) => follow());
  };
  byId("filter").addEventListener("input", filter);
  filter();
}

// Numbers by size, other texts alphabetically; missing values come last in both directions.
function compare(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const [x, y] = [Number(a), Number(b)];
  return sign * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y);
}
