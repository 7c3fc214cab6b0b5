// Data, elements, formats. Text from models is only ever set as textContent, or passed through plain() for plotly.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** A new HTML element with attributes, listeners (on...), and children (elements or text). */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  return fill(made, attributes, children);
}

/** The same for SVG. */
function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** For plotly, which takes some HTML in its texts. */
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

const known = (value) => value !== null && value !== undefined;

/** Four significant digits, without needless zeros. */
function figure(value) {
  if (!known(value)) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

const decibel = (value) => (known(value) ? `${value.toFixed(1)} dB` : "–");
const percent = (value) => `${(100 * value).toFixed(value < 0.001 ? 3 : 2)} %`;

/** The end of a long name says more than its beginning. */
function shortened(text, length) {
  return text.length <= length ? text : "…" + text.slice(1 - length);
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const isNarrow = () => window.innerWidth < 640;
const isTouch = () => window.matchMedia("(pointer: coarse)").matches;

/** Tensor name -> index of the operator that makes or reads it. */
const NODE_OF = new Map();
for (const [index, node] of (DATA.network ? DATA.network.nodes : []).entries()) {
  for (const name of [...node.out, ...node.weights]) if (!NODE_OF.has(name)) NODE_OF.set(name, index);
}

const card = (tensor) => DATA.tensors[tensor] || {};

/** What is shown of an operator: its first output (of an Output: its input). */
const mainTensor = (node) => node.out[0] || node.in[0] || "";

/** The card that says what an operator computes on the target: a fused one's is that of the tensor it becomes. */
function cardOf(node) {
  const own = card(mainTensor(node));
  return own.how === "fused" && own.source ? card(own.source) : own;
}

const SENSITIVITY = new Map((DATA.analysis ? DATA.analysis.quantizers : []).map((entry) => [entry.name, entry]));

/** The least SQNR with only one quantizer on, of an operator's outputs and weights. */
function sensitivityOf(node) {
  const found = [...node.out, ...node.weights]
    .map((name) => SENSITIVITY.get(name))
    .filter((entry) => entry && known(entry.alone_on.sqnr_db))
    .map((entry) => entry.alone_on.sqnr_db);
  return found.length ? Math.min(...found) : null;
}

const FINDINGS = new Map();
for (const finding of DATA.findings) {
  if (finding.node === null) continue;
  if (!FINDINGS.has(finding.node)) FINDINGS.set(finding.node, []);
  FINDINGS.get(finding.node).push(finding);
}

/** How many findings of an operator ask for something; infos do not. */
const wanting = (index) => (FINDINGS.get(index) || []).filter((finding) => finding.severity !== "info").length;
