// Starts everything that the page has data for.

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("hexaquant-theme", root.dataset.theme); } catch (error) { /* only this view then */ }
  themed();
}

function themed() {
  const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark");
  $("#theme").setAttribute("aria-pressed", String(dark));
  if (DATA.network) paint($("#colour-by").value);
  redrawAll();
}

function redrawOn(chartId, ...controls) {
  for (const id of controls) document.getElementById(id)?.addEventListener("change", () => redraw(document.getElementById(chartId)));
}

function startSensitivity() {
  const all = $("#sensitivity-all");
  all.addEventListener("click", () => {
    all.setAttribute("aria-pressed", String(all.getAttribute("aria-pressed") !== "true"));
    redraw($("#sensitivity-chart"));
  });
  redrawOn("sensitivity-chart", "sensitivity-mode", "sensitivity-measure");
  chart("sensitivity-chart", sensitivityChart);
}

/** The tensors with a histogram; those that clip most come first. */
function startHistograms() {
  const select = $("#histogram-tensor"), clipped = (name) => card(name).clipped_fraction || 0;
  const names = Object.keys(DATA.tensors).filter((name) => card(name).histogram);
  const groups = [["Activations", (name) => !["weight", "bias", "constant"].includes(card(name).role)], ["Weights", (name) => ["weight", "bias", "constant"].includes(card(name).role)]];
  for (const [label, belongs] of groups) {
    const mine = names.filter(belongs).sort((a, b) => clipped(b) - clipped(a));
    if (mine.length) select.append(el("optgroup", { label }, ...mine.map((name) => el("option", { value: name }, name + (clipped(name) ? ` (${percent(clipped(name))} clipped)` : "")))));
  }
  const tell = () => {
    const entry = card(select.value);
    $("#histogram-facts").textContent = [
      entry.grid, `values ${figure(entry.min)} to ${figure(entry.max)}`, known(entry.encoding_min) ? `encoding ${figure(entry.encoding_min)} to ${figure(entry.encoding_max)}` : null,
      known(entry.clipped_fraction) ? `${percent(entry.clipped_fraction)} clipped` : null,
    ].filter(Boolean).join(" · ");
  };
  select.addEventListener("change", tell);
  tell();
  redrawOn("histogram-chart", "histogram-tensor", "histogram-log");
  chart("histogram-chart", histogramChart);
}

function start() {
  $("#theme").addEventListener("click", toggleTheme);
  $("#panel-close").addEventListener("click", closePanel);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") closePanel(); });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);
  $$("[data-copy]").forEach((button) => button.addEventListener("click", () => copy(button)));
  $$("[data-node-link]").forEach((button) => button.addEventListener("click", () => { const index = Number(button.dataset.nodeLink); openNode(index); centre(index); }));
  if (DATA.network) { drawGraph(); drawLayers(); fit(false); paint($("#colour-by").value); }
  if ($("#error-chart")) chart("error-chart", errorChart);
  if ($("#sensitivity-chart")) startSensitivity();
  if ($("#histogram-chart")) startHistograms();
  if ($("#pareto-chart")) { redrawOn("pareto-chart", "pareto-cost"); chart("pareto-chart", paretoChart); }
  themed();
  if (document.documentElement.dataset.live) { $("#live-reload").addEventListener("click", () => location.reload()); poll(); }
  document.documentElement.dataset.ready = "yes";
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  } catch (error) { button.textContent = "Select and copy"; }
}

start();
