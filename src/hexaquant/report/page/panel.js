// One layer: its tensors with encodings, ranges, histograms and errors, its findings, where it comes from, its neighbours.

const PANEL = { opener: null, node: null };

function openTensor(name) {
  if (NODE_OF.has(name)) openNode(NODE_OF.get(name));
}

function openNode(index) {
  const node = DATA.network.nodes[index], panel = $("#panel");
  if (panel.hidden) PANEL.opener = document.activeElement;
  PANEL.node = index;
  $("#panel-title").textContent = node.title;
  $("#panel-op").textContent = node.op + (node.source ? ` · ${node.source}` : "") + (node.title !== node.name ? ` · ${node.name}` : "");
  $("#panel-body").replaceChildren(...panelBody(node, index));
  panel.hidden = false;
  panel.scrollTop = 0;
  mark(index);
  $("#panel-close").focus({ preventScroll: true });
}

function closePanel() {
  const panel = $("#panel");
  if (panel.hidden) return;
  panel.hidden = true;
  mark(-1);
  const opener = PANEL.opener;
  if (opener && opener !== document.body && opener.isConnected) opener.focus({ preventScroll: true });
  else if (PANEL.node !== null) focusNode(PANEL.node);
}

function panelBody(node, index) {
  const parts = (FINDINGS.get(index) || []).map(findingNote);
  for (const [title, names] of [["Outputs", node.out], ["Weights and constants", node.weights], ["Inputs", node.in]]) {
    const blocks = names.map((name) => tensorBlock(name, title !== "Inputs")).filter(known);
    if (blocks.length) parts.push(el("h3", {}, title), ...blocks);
  }
  const attributes = Object.entries(node.attributes);
  if (attributes.length) parts.push(el("h3", {}, "Attributes"), facts(attributes));
  const links = neighbours(index);
  if (links.length) parts.push(el("h3", {}, "Neighbours"), el("div", { class: "neighbours" }, ...links));
  return parts;
}

function findingNote(finding) {
  return el("div", { class: "note" }, el("strong", {}, `${finding.by}: ${finding.severity}`), el("p", {}, finding.text),
    finding.fix ? el("p", { class: "fix" }, finding.fix) : null);
}

function tensorBlock(name, detailed) {
  const entry = card(name);
  const rows = [
    ["type", [entry.grid, known(entry.how) ? entry.how + (entry.source ? ` with ${entry.source}` : "") : null].filter(Boolean).join(", ")],
    ["shape", (entry.shape || []).map((size) => size ?? "?").join(" × ")],
    ["value", known(entry.value) ? figure(entry.value) : null],
    ["encoding", known(entry.encoding_min) ? `${figure(entry.encoding_min)} to ${figure(entry.encoding_max)}` : null],
    ["scale, offset", known(entry.scale) ? `${figure(entry.scale)}, ${entry.offset}` : null],
    ["scales", entry.scale_range ? `${entry.scales}, ${figure(entry.scale_range[0])} to ${figure(entry.scale_range[1])}` : null],
    ["observed", known(entry.min) ? `${figure(entry.min)} to ${figure(entry.max)}` : null],
    ["mean, deviation", known(entry.mean) ? `${figure(entry.mean)}, ${figure(entry.std)}` : null],
    ["clipped", known(entry.clipped_fraction) ? percent(entry.clipped_fraction) : null],
    ["SQNR, simulation against FP32", known(entry.sqnr_fp32_sim_db) ? decibel(entry.sqnr_fp32_sim_db) : null],
    ["SQNR, target against simulation", known(entry.sqnr_sim_target_db) ? decibel(entry.sqnr_sim_target_db) : null],
    ["largest difference", known(entry.max_steps) ? `${figure(entry.max_steps)} steps` : null],
    ["alone quantized", SENSITIVITY.has(name) ? decibel(SENSITIVITY.get(name).alone_on.sqnr_db) : null],
    ["outlier channels", entry.outliers ? entry.outliers.slice(0, 6).map(([channel, ratio]) => `${channel} (${figure(ratio)}×)`).join(", ") : null],
    ["on the target", entry.coverage ? `${entry.coverage.verdict}${entry.coverage.has ? ": " + entry.coverage.has : ""}` : null],
    ["why", entry.reason],
  ].filter(([, value]) => known(value) && value !== "");
  if (!rows.length) return null;
  const shown = detailed ? rows : rows.slice(0, 3);
  return el("div", { class: "tensor" }, el("h4", {}, name), facts(shown), detailed && entry.histogram ? smallHistogram(entry) : null);
}

function facts(rows) {
  return el("dl", {}, ...rows.flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, String(value))]));
}

/** Bars with the clip lines, without axes: the range stands beside it. */
function smallHistogram(entry) {
  const { low, high, counts } = entry.histogram, width = 360, height = 84;
  const ends = [low, high, entry.encoding_min ?? low, entry.encoding_max ?? high], from = Math.min(...ends), span = Math.max(...ends) - from || 1;
  const x = (value) => ((value - from) / span) * width, top = Math.log1p(Math.max(...counts, 1)), step = (x(high) - x(low)) / counts.length;
  const bars = counts.map((count, index) => svg("rect", { class: "count", x: x(low) + index * step, width: Math.max(step - 0.6, 0.6), y: height - (Math.log1p(count) / top) * height, height: (Math.log1p(count) / top) * height }));
  const lines = [entry.encoding_min, entry.encoding_max].filter(known).map((value) => svg("line", { class: "clip", x1: x(value), x2: x(value), y1: 0, y2: height }));
  return el("figure", { class: "small" },
    svg("svg", { viewBox: `-2 0 ${width + 4} ${height}`, role: "img", "aria-label": `histogram, counts on a logarithmic scale, from ${figure(low)} to ${figure(high)}` }, ...bars, ...lines),
    el("figcaption", {}, el("span", {}, figure(from)), el("span", {}, known(entry.encoding_min) ? "dashed: clipped beyond; counts logarithmic" : "counts logarithmic"), el("span", {}, figure(from + span))));
}

function neighbours(index) {
  const { lines, nodes } = DATA.network, links = [];
  for (const line of lines) {
    if (line.b === index) links.push(["from", line.a]);
    if (line.a === index) links.push(["to", line.b]);
  }
  return links.map(([way, other]) => el("button", { type: "button", class: "link", onclick: () => { openNode(other); centre(other); } }, `${way} ${nodes[other].op} ${shortened(nodes[other].title, 30)}`));
}
