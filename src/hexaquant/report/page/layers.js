// All layers as a table: what the drawing shows, for reading, sorting and searching.

const COLUMNS = [
  ["layer", (node) => node.title, "text"],
  ["operator", (node) => node.op, "text"],
  ["bits", (node) => node.bits || null, "text"],
  ["simulation, dB", (node) => cardOf(node).sqnr_fp32_sim_db, "number"],
  ["target, dB", (node) => cardOf(node).sqnr_sim_target_db, "number"],
  ["alone, dB", sensitivityOf, "number"],
  ["findings", (node, index) => wanting(index) || null, "number"],
];
const LAYERS = { sort: null, down: true };

function drawLayers() {
  const rows = DATA.network.nodes.map((node, index) => ({ node, index, cells: COLUMNS.map(([, of]) => of(node, index)) }));
  const used = COLUMNS.map((column, place) => place).filter((place) => rows.some((row) => known(row.cells[place])));
  const head = el("tr", {}, ...used.map((place) => el("th", { scope: "col", class: COLUMNS[place][2], "aria-sort": "none" },
    el("button", { type: "button", onclick: () => sortLayers(rows, used, place) }, COLUMNS[place][0]))));
  $("#layers").append(el("table", {}, el("thead", {}, head), el("tbody", {})));
  $("#layer-filter").addEventListener("input", () => listLayers(rows, used));
  listLayers(rows, used);
}

function sortLayers(rows, used, place) {
  LAYERS.down = LAYERS.sort === place ? !LAYERS.down : true;
  LAYERS.sort = place;
  const sign = LAYERS.down ? 1 : -1;
  rows.sort((a, b) => {
    const [x, y] = [a.cells[place], b.cells[place]];
    if (!known(x) || !known(y)) return known(y) - known(x);
    return sign * (COLUMNS[place][2] === "number" ? x - y : String(x).localeCompare(String(y)));
  });
  $$("#layers th").forEach((cell, index) => cell.setAttribute("aria-sort", used[index] !== place ? "none" : LAYERS.down ? "ascending" : "descending"));
  listLayers(rows, used);
}

function listLayers(rows, used) {
  const wanted = $("#layer-filter").value.toLowerCase();
  const shown = rows.filter(({ node }) => `${node.title} ${node.op} ${node.name} ${node.source} ${node.out.join(" ")}`.toLowerCase().includes(wanted));
  $("#layers tbody").replaceChildren(...shown.map(({ node, index, cells }) => el("tr", {}, ...used.map((place) => {
    if (place === 0) return el("th", { scope: "row" }, el("button", { type: "button", class: "link", "data-open": index, onclick: () => openNode(index) }, node.title));
    const value = cells[place];
    return el("td", { class: COLUMNS[place][2] }, !known(value) ? "" : place > 2 && place < 6 ? value.toFixed(1) : String(value));
  }))));
  $("#layer-count").textContent = `${shown.length} of ${rows.length} layers`;
}
