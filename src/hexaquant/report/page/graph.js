// The network: boxes and lines laid out in Python; scrolled, dragged, zoomed, coloured and walked by keyboard.

const GRAPH = { zoom: 1, nodes: [], current: 0 };
const VIRIDIS = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];
const BITS = { 4: "--bits-4", 8: "--bits-8", 16: "--bits-16", float16: "--bits-float16", float32: "--bits-float32" };

const COLOURINGS = {
  bits: { title: "bits", of: (node) => node.bits || null },
  sqnr_fp32_sim_db: { title: "SQNR, simulation against FP32", of: (node) => cardOf(node).sqnr_fp32_sim_db },
  sqnr_sim_target_db: { title: "SQNR, target against simulation", of: (node) => cardOf(node).sqnr_sim_target_db },
  sensitivity: { title: "sensitivity (SQNR with it alone quantized)", of: sensitivityOf },
};

function drawGraph() {
  const { nodes, width, height, box, at, lines } = DATA.network;
  const drawing = svg("svg", { class: "drawing", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "network" });
  drawing.append(svg("defs", {}, svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" },
    svg("path", { d: "M0,0.5 L8,4 L0,7.5 z", class: "arrow" }))));
  drawing.append(svg("g", {}, ...lines.map((line) => svg("path", { class: "line", d: curve(line.points, box), "marker-end": "url(#arrow)", "data-a": line.a, "data-b": line.b }))));
  GRAPH.nodes = nodes.map((node, index) => nodeBox(node, index, at[index], box));
  drawing.append(svg("g", {}, ...GRAPH.nodes));
  $("#graph").append(drawing);
  const small = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    ...at.map(([x, y]) => svg("rect", { x: x - box[0] / 2, y: y - box[1] / 2, width: box[0], height: box[1], rx: 6 })),
    svg("rect", { class: "window", x: 0, y: 0, width, height: 10 }));
  $("#overview").append(small);
  GRAPH.nodes[0]?.setAttribute("tabindex", "0");
  bindGraph();
}

function curve(points, box) {
  const path = points.map(([x, y], index) => [x, index === 0 ? y + box[1] / 2 : index === points.length - 1 ? y - box[1] / 2 - 2 : y]);
  let text = `M${path[0]}`;
  for (let i = 1; i < path.length; i++) {
    const [x0, y0] = path[i - 1], [x1, y1] = path[i], middle = (y0 + y1) / 2;
    text += x0 === x1 ? `L${x1},${y1}` : `C${x0},${middle} ${x1},${middle} ${x1},${y1}`;
  }
  return text;
}

function nodeBox(node, index, [x, y], [width, height]) {
  const findings = wanting(index);
  const label = `${node.op} ${node.title}` + (node.bits ? `, ${node.bits} bits` : "") + (findings ? `, ${findings} findings` : "");
  return svg("g", { class: "node", transform: `translate(${x - width / 2},${y - height / 2})`, role: "button", tabindex: "-1", "data-node": index, "aria-label": label },
    svg("rect", { class: "box", width, height, rx: 7 }), svg("rect", { class: "band", width: 6, height, rx: 3 }),
    svg("text", { x: 16, y: 19, class: "op" }, node.op), svg("text", { x: 16, y: 36, class: "title" }, shortened(node.title, 26)),
    findings ? svg("circle", { class: "flag", cx: width - 12, cy: 13, r: 5 }) : null, svg("title", {}, label));
}

/** Colour by ``kind``; fills the legend. A network without a plan yet has nothing to be coloured by. */
function paint(kind) {
  if (!(kind in COLOURINGS)) return;
  const { of } = COLOURINGS[kind], values = DATA.network.nodes.map(of), legend = $("#legend");
  legend.replaceChildren();
  const hues = kind === "bits" ? bitHues(values, legend) : scaleHues(values, legend);
  const small = $$("#overview rect:not(.window)");
  GRAPH.nodes.forEach((node, index) => {
    node.style.setProperty("--hue", hues[index] || colour("--line-2"));
    node.classList.toggle("plain", !hues[index]);
    small[index].style.fill = hues[index] || colour("--line-2");
  });
}

function bitHues(values, legend) {
  for (const bits of Object.keys(BITS)) {
    if (values.includes(bits)) legend.append(el("span", { class: `key ${"k" + bits}` }, /^\d/.test(bits) ? `${bits} bits` : bits));
  }
  return values.map((value) => (value in BITS ? colour(BITS[value]) : null));
}

function scaleHues(values, legend) {
  const found = values.filter(known), low = Math.min(...found), high = Math.max(...found);
  legend.append(el("span", {}, decibel(low)), el("span", { class: "ramp", "aria-hidden": "true" }), el("span", {}, decibel(high)), el("span", { class: "muted" }, "violet is where the error is"));
  return values.map((value) => (known(value) ? mixed(high > low ? (value - low) / (high - low) : 1) : null));
}

function mixed(share) {
  const place = share * (VIRIDIS.length - 1), index = Math.min(Math.floor(place), VIRIDIS.length - 2), rest = place - index;
  const parts = [1, 3, 5].map((at) => {
    const [a, b] = [VIRIDIS[index], VIRIDIS[index + 1]].map((hex) => parseInt(hex.slice(at, at + 2), 16));
    return Math.round(a + (b - a) * rest);
  });
  return `rgb(${parts.join(",")})`;
}

/** Zoom so that what is in the middle stays there. */
function zoomTo(zoom) {
  const frame = $("#graph"), drawing = $(".drawing", frame), before = GRAPH.zoom;
  GRAPH.zoom = Math.min(2.5, Math.max(0.2, zoom));
  const x = frame.scrollLeft + frame.clientWidth / 2, y = frame.scrollTop + frame.clientHeight / 2;
  drawing.setAttribute("width", DATA.network.width * GRAPH.zoom);
  drawing.setAttribute("height", DATA.network.height * GRAPH.zoom);
  const ratio = GRAPH.zoom / before;
  frame.scrollTo(x * ratio - frame.clientWidth / 2, y * ratio - frame.clientHeight / 2);
  showWindow();
}

function fit(whole) {
  const frame = $("#graph"), { width, height } = DATA.network;
  const wide = (frame.clientWidth - 2) / width, high = (frame.clientHeight - 2) / height;
  zoomTo(whole ? Math.min(wide, high) : Math.max(Math.min(1, wide), 0.45));
  if (!whole) frame.scrollTo((width * GRAPH.zoom - frame.clientWidth) / 2, 0);
}

function showWindow() {
  const frame = $("#graph"), mark = $("#overview .window");
  mark.setAttribute("y", frame.scrollTop / GRAPH.zoom);
  mark.setAttribute("height", Math.min(frame.clientHeight / GRAPH.zoom, DATA.network.height));
}

function bindGraph() {
  const frame = $("#graph"), overview = $("#overview");
  frame.addEventListener("click", (event) => { const node = event.target.closest(".node"); if (node && !GRAPH.dragged) openNode(Number(node.dataset.node)); });
  frame.addEventListener("keydown", walk);
  frame.addEventListener("scroll", showWindow, { passive: true });
  frame.addEventListener("wheel", (event) => { if (event.ctrlKey || event.metaKey) { event.preventDefault(); zoomTo(GRAPH.zoom * Math.exp(-event.deltaY / 300)); } }, { passive: false });
  frame.addEventListener("pointerdown", (event) => { GRAPH.dragged = false; if (event.pointerType === "mouse" && event.button === 0) GRAPH.drag = [event.clientX, event.clientY, frame.scrollLeft, frame.scrollTop]; });
  window.addEventListener("pointermove", (event) => {
    if (!GRAPH.drag) return;
    const [x, y, left, top] = GRAPH.drag;
    if (Math.hypot(event.clientX - x, event.clientY - y) > 4) GRAPH.dragged = true;
    if (GRAPH.dragged) frame.scrollTo(left - event.clientX + x, top - event.clientY + y);
  });
  window.addEventListener("pointerup", () => { GRAPH.drag = null; });
  overview.addEventListener("click", (event) => {
    const frameOf = overview.getBoundingClientRect(), share = (event.clientY - frameOf.top) / frameOf.height;
    frame.scrollTo(frame.scrollLeft, share * DATA.network.height * GRAPH.zoom - frame.clientHeight / 2);
  });
  $("#zoom-in").addEventListener("click", () => zoomTo(GRAPH.zoom * 1.3));
  $("#zoom-out").addEventListener("click", () => zoomTo(GRAPH.zoom / 1.3));
  $("#zoom-width").addEventListener("click", () => fit(false));
  $("#zoom-whole").addEventListener("click", () => fit(true));
  const select = $("#colour-by");
  for (const [kind, { title, of }] of Object.entries(COLOURINGS)) {
    if (DATA.network.nodes.some((node) => known(of(node)))) select.append(el("option", { value: kind }, title));
  }
  select.addEventListener("change", () => paint(select.value));
}

/** Arrow keys follow the lines, Enter opens. */
function walk(event) {
  const index = Number(event.target.closest?.(".node")?.dataset.node ?? NaN);
  if (Number.isNaN(index)) return;
  const { lines, at } = DATA.network;
  const row = at.map((place, other) => [place, other]).filter(([place]) => place[1] === at[index][1]).sort((a, b) => a[0][0] - b[0][0]).map(([, other]) => other);
  const moves = {
    ArrowDown: () => lines.find((line) => line.a === index)?.b, ArrowUp: () => lines.find((line) => line.b === index)?.a,
    ArrowRight: () => row[row.indexOf(index) + 1], ArrowLeft: () => row[row.indexOf(index) - 1],
    Home: () => 0, End: () => at.length - 1,
  };
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); openNode(index); }
  else if (event.key in moves) { event.preventDefault(); const next = moves[event.key](); if (known(next)) focusNode(next); }
  else if (event.key === "+" || event.key === "-") zoomTo(GRAPH.zoom * (event.key === "+" ? 1.3 : 1 / 1.3));
}

function focusNode(index) {
  GRAPH.nodes[GRAPH.current].setAttribute("tabindex", "-1");
  GRAPH.current = index;
  GRAPH.nodes[index].setAttribute("tabindex", "0");
  GRAPH.nodes[index].focus({ preventScroll: true });
  centre(index);
}

function centre(index) {
  const frame = $("#graph"), [x, y] = DATA.network.at[index];
  frame.scrollTo({ left: x * GRAPH.zoom - frame.clientWidth / 2, top: y * GRAPH.zoom - frame.clientHeight / 2 });
}

function mark(index) {
  GRAPH.nodes.forEach((node, other) => node.classList.toggle("open", other === index));
  $$("#graph .line").forEach((line) => line.classList.toggle("near", Number(line.dataset.a) === index || Number(line.dataset.b) === index));
}
