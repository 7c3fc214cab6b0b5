// plotly: inflated once, charts drawn when they come into view and again when the theme changes.

const CHARTS = new Map();
let plotlyReady = null;

/** Resolves when plotly is there. Its script is in the page, deflated; only its hash is allowed to run. */
function loadPlotly() {
  plotlyReady ??= inflate($("#plotly").textContent).then((text) => {
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
    if (!window.Plotly) throw new Error("plotly did not start");
  });
  return plotlyReady;
}

async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
}, { rootMargin: "300px" });

/** ``build()`` gives {data, layout, pick}; ``pick(point)``: the tensor that a click on a point opens. */
function chart(id, build) {
  const place = document.getElementById(id);
  if (!place) return;
  CHARTS.set(place, { build, drawn: false });
  observer.observe(place);
}

async function draw(place) {
  const known = CHARTS.get(place);
  try {
    await loadPlotly();
  } catch (error) {
    place.textContent = `The charts did not start (${error.message}): this page needs a browser of 2023 or newer.`;
    return;
  }
  const { data, layout, pick } = known.build();
  await window.Plotly.react(place, data, { ...baseLayout(), ...layout, xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis) }, {
    displaylogo: false, responsive: true, displayModeBar: isTouch() || isNarrow() ? false : "hover",
    modeBarButtons: [["toImage", "resetScale2d"]],
  });
  if (!known.drawn && pick) place.on("plotly_click", (event) => openTensor(pick(event.points[0])));
  known.drawn = true;
  place.dataset.drawn = "yes";
}

function redraw(place) {
  if (CHARTS.get(place)?.drawn) draw(place);
}

const redrawAll = () => CHARTS.forEach((_, place) => redraw(place));

function baseLayout() {
  return {
    font: { family: colour("--sans"), size: 12.5, color: colour("--ink-2") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 56, r: 16, t: 12, b: 48 }, dragmode: isTouch() ? false : "zoom",
    hoverlabel: {
      bgcolor: colour("--card"), bordercolor: colour("--line"), align: "left",
      font: { color: colour("--ink"), family: colour("--sans"), size: 12.5 },
    },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--ink-3"), activecolor: colour("--ink") },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
  };
}

function axis(given = {}) {
  const line = colour("--line");
  return {
    gridcolor: line, zerolinecolor: line, linecolor: line, tickcolor: line, automargin: true, ...given,
    title: { font: { size: 12.5, color: colour("--ink-2") }, standoff: 10, ...(given.title || {}) },
  };
}

const SERIES = {
  sqnr_fp32_sim_db: ["simulation against FP32", "--sim"],
  sqnr_sim_target_db: ["target against simulation", "--target"],
};

/** SQNR of every tensor in network order, with the first divergences marked. */
function errorChart() {
  const tensors = DATA.debug.tensors;
  const place = new Map(tensors.map((tensor, index) => [tensor.name, index]));
  const data = Object.entries(SERIES).map(([key, [name, hue]]) => ({
    type: "scatter", mode: "lines+markers", name, customdata: tensors.map((t) => t.name),
    x: tensors.map((_, index) => index + 1), y: tensors.map((t) => t[key]), connectgaps: true,
    line: { color: colour(hue), width: 1.8 }, marker: { size: 5, color: colour(hue) },
    text: tensors.map((t) => `<b>${plain(t.name)}</b><br>${plain(t.op)} · ${plain(t.origin || t.layer)}`),
    hovertemplate: "%{text}<br>%{y:.1f} dB<extra></extra>",
  })).filter((series) => series.y.some(known));
  const marks = [
    [DATA.debug.first_simulation_leaves_fp32, "simulation leaves FP32", "--sim", 1.09],
    [DATA.debug.first_target_leaves_simulation, "target leaves simulation", "--target", 1.01],
  ].filter(([name]) => place.has(name));
  return {
    data,
    layout: {
      height: 380, margin: { l: 56, r: 16, t: marks.length ? 52 : 12, b: 84 }, legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top" },
      xaxis: { title: { text: "tensor, in network order" }, rangemode: "tozero" },
      yaxis: { title: { text: "SQNR, dB" } },
      shapes: marks.map(([name, , hue]) => ({
        type: "line", x0: place.get(name) + 1, x1: place.get(name) + 1, yref: "paper", y0: 0, y1: 1,
        line: { color: colour(hue), width: 1.5, dash: "dot" },
      })),
      annotations: marks.map(([name, text, hue, y]) => ({
        x: place.get(name) + 1, y, yref: "paper", text, showarrow: false, font: { color: colour(hue), size: 12 },
        yanchor: "bottom", xanchor: place.get(name) > tensors.length / 2 ? "right" : "left",
      })),
    },
    pick: (point) => point.customdata,
  };
}

/** A tensor in the user's words: its layer, and whether it is the layer's weight. */
function layerOf(name) {
  const node = NODE_OF.has(name) ? DATA.network.nodes[NODE_OF.get(name)] : null;
  return node ? node.title + (node.weights.includes(name) ? " (weight)" : "") : name;
}

/** What each quantizer costs alone, the worst on top. */
function sensitivityChart() {
  const mode = $("#sensitivity-mode").value, measure = $("#sensitivity-measure").value;
  const all = $("#sensitivity-all").getAttribute("aria-pressed") === "true";
  const sign = mode === "alone_on" ? 1 : -1;
  const entries = DATA.analysis.quantizers.filter((entry) => known(entry[mode][measure]))
    .sort((a, b) => sign * (a[mode][measure] - b[mode][measure])).slice(0, all ? undefined : 24);
  const kinds = [["activation", "--sim"], ["weight", "--target"]];
  const names = entries.map((entry) => entry.name);
  const data = kinds.map(([kind, hue]) => {
    const mine = entries.filter((entry) => (entry.kind === "weight") === (kind === "weight"));
    return {
      type: "scatter", mode: "markers", name: kind === "weight" ? "weights" : "activations",
      x: mine.map((entry) => entry[mode][measure]), y: mine.map((entry) => entry.name), customdata: mine.map((entry) => entry.name),
      marker: { size: 9, color: colour(hue), symbol: kind === "weight" ? "diamond" : "circle" },
      text: mine.map((entry) => `<b>${plain(entry.name)}</b><br>${plain(entry.origin || entry.layer)}<br>${plain(entry.bits)} bits`),
      hovertemplate: `%{text}<br>${measure === "metric" ? "%{x:.4f}" : "%{x:.2f} dB"}<extra></extra>`,
    };
  }).filter((series) => series.x.length);
  const length = isNarrow() ? 20 : 44;
  const what = measure === "metric" ? plain(DATA.analysis.metric) : "SQNR of the outputs, dB";
  return {
    data,
    layout: {
      height: 90 + 22 * Math.max(names.length, 4), hovermode: "closest",
      xaxis: { title: { text: what }, side: "top" },
      yaxis: {
        type: "category", categoryorder: "array", categoryarray: [...names].reverse(), tickmode: "array", tickvals: names,
        ticktext: names.map((name) => plain(shortened(layerOf(name), length))), tickfont: { family: colour("--mono"), size: 11 },
        range: [-0.7, names.length - 0.3],
      },
      legend: { orientation: "h", x: 0, y: 0, yanchor: "top" }, margin: { l: 56, r: 16, t: 52, b: 28 },
    },
    pick: (point) => point.customdata,
  };
}

/** Values of one tensor, with lines where its encoding clips. */
function histogramChart() {
  const name = $("#histogram-tensor").value, entry = card(name), { low, high, counts } = entry.histogram;
  const width = (high - low) / counts.length;
  const lines = [["encoding_min", "left"], ["encoding_max", "right"]].filter(([key]) => known(entry[key]));
  return {
    data: [{
      type: "bar", x: counts.map((_, index) => low + (index + 0.5) * width), y: counts, width: counts.map(() => width * 0.96),
      marker: { color: colour("--sim") }, hovertemplate: "%{x:.4g}: %{y:,} values<extra></extra>",
    }],
    layout: {
      height: 320, bargap: 0, showlegend: false, xaxis: { title: { text: "value" } },
      yaxis: { title: { text: "values" }, type: $("#histogram-log").checked ? "log" : "linear" },
      shapes: lines.map(([key]) => ({
        type: "line", x0: entry[key], x1: entry[key], yref: "paper", y0: 0, y1: 1,
        line: { color: colour("--target"), width: 2, dash: "dash" },
      })),
      annotations: lines.map(([key, side]) => ({
        x: entry[key], y: 1, yref: "paper", yanchor: "bottom", xanchor: side === "left" ? "left" : "right", showarrow: false,
        text: `${side === "left" ? "lowest" : "highest"} ${figure(entry[key])}`, font: { color: colour("--target"), size: 12 },
      })),
      margin: { l: 56, r: 16, t: 32, b: 48 },
    },
  };
}

/** Predicted error against cost, the chosen point and uniform w8a8. */
function paretoChart() {
  const cost = $("#pareto-cost").value, { pareto, choice, w8a8 } = DATA.mixed;
  const points = [...pareto].sort((a, b) => a[cost] - b[cost]);
  const told = (p) => Object.entries(p.layers).map(([scheme, count]) => `${count} ${plain(scheme)}`).join(", ");
  const series = (name, list, hue, more) => ({
    type: "scatter", name, x: list.map((p) => (100 * p[cost]) / w8a8[cost]), y: list.map((p) => p.predicted_sqnr_db), text: list.map(told),
    hovertemplate: "%{y:.1f} dB at %{x:.0f} % of w8a8<br>%{text}<extra></extra>", marker: { size: 9, color: colour(hue) },
    line: { color: colour(hue), width: 1.8 }, ...more,
  });
  // float16 throughout is predicted to be nearly exact: a line that leaves the top says so without flattening the rest
  const errors = [...points, choice, w8a8].map((p) => p.predicted_sqnr_db).filter((db) => known(db) && db < 100);
  const range = errors.length ? [Math.min(...errors) - 4, Math.max(...errors) + 6] : undefined;
  const big = (hue, symbol) => ({ mode: "markers", marker: { size: 14, color: colour(hue), symbol } });
  return {
    data: [
      series("best for each budget", points, "--sim", { mode: "lines+markers" }),
      series("uniform w8a8", [w8a8], "--fp32", big("--fp32", "square")),
      series("chosen", [choice], "--target", big("--target", "star")),
    ],
    layout: {
      height: 340, hovermode: "closest", yaxis: { title: { text: "predicted SQNR, dB" }, range },
      xaxis: { title: { text: `${cost === "bops" ? "bit operations" : "bytes of weights"}, % of uniform w8a8` } },
    },
  };
}
