// Runs inside a pane: starts Netron on the embedded model, and gives the page a small
// interface to it. Netron's inside is no interface, so each part is looked for under the
// names that the versions since 7.8 have used, and a missing one is an error with its name.
import * as browserModule from "netron/browser";
import * as viewModule from "netron/view";

const setup = window.onnxacPane;

function need(value, what) {
  if (value === undefined || value === null) throw new Error(`this Netron has no ${what}`);
  return value;
}

const BaseHost = need(browserModule.Host || browserModule.BrowserHost, "browser host");
const View = need(viewModule.View, "view");

const darkRules = new Map();

// Netron's host without its update notice, consent dialog, telemetry, menus that leave the
// page, and every request.
class Host extends BaseHost {
  environment(name) {
    if (name === "serial" || name === "measure") return !setup.worker;
    return super.environment(name);
  }

  async view(view) { this._view = view; }

  async start() { await this._open(setup.file, [setup.file]); }

  async require(id) { return import(`netron/${id.replace(/^\.\//, "")}`); }

  worker() { return new Worker(setup.worker); }

  async asset(file) { return this.fetch(file); }

  async request(file) { return this.fetch(file); }

  async fetch(file) {
    if (file === "onnx-metadata.json") return setup.metadata;
    throw new Error(`'${file}' is not part of this page`);
  }

  async _request() { throw new Error("this page makes no requests"); }

  get() { return undefined; }
  set() { return undefined; }
  delete() { return undefined; }
  event() { return undefined; }
  openURL() { return undefined; }
  async execute() { return undefined; }

  exception(error) { setup.failed(error); }

  // A long layout may not be cancelled; other questions are answered with yes, and a message
  // without a choice is an error.
  async message(text, alert, action) {
    if (action === "Cancel") return new Promise(() => {});
    if (action || !text) return 0;
    setup.failed(new Error(text));
    return super.message(text, alert, action);
  }
}

class Pane {
  constructor(view) {
    this.view = view;
    this.onselect = () => {};
    this.onzoom = () => {};
    this.onscroll = () => {};
    this.onredraw = () => {};
    this.quiet = 0;
    this.adopt();
    need(this.adopted, "open model");
    const nodes = (this.view.activeTarget || this.view.activeGraph).nodes;
    if (nodes.length > 0 && this.nodes.size === 0) need(undefined, "nodes with named outputs");
    for (const key of ["_target", "_graph"]) this.watch(key);
  }

  get graph() { return this.view.target || this.view._target || this.view._graph; }
  get zoomer() { return this.graph && this.graph._updateZoom ? this.graph : this.view; }
  get container() {
    return need(document.getElementById("target") || document.getElementById("graph"), "graph element");
  }
  get canvas() { return document.getElementById("canvas"); }
  get zoom() { return this.zoomer._zoom; }
  set zoom(value) { this.silently(() => this.zoomer._updateZoom(value)); }

  silently(action) {
    this.quiet++;
    try { return action(); } finally { this.quiet--; }
  }

  // Netron makes a new graph when its options change, and keeps it under one of these keys.
  watch(key) {
    if (!Object.hasOwn(this.view, key)) return;
    let value = this.view[key];
    Object.defineProperty(this.view, key, {
      get: () => value,
      set: (next) => {
        value = next;
        setTimeout(() => this.adopt());
      },
    });
  }

  adopt() {
    const graph = this.graph;
    const root = this.view.activeTarget || this.view.activeGraph;
    if (!graph || graph === this.adopted || !root) return;
    this.adopted = graph;
    need(graph._table, "table of drawn nodes");
    need(graph.select, "selection");
    this.index(root);
    this.paint();
    this.listen(graph);
    this.onredraw();
  }

  index(root) {
    const known = new Map(setup.keys.map((key, i) => [key, i]).filter(([key]) => key !== ""));
    this.nodes = new Map();
    for (const node of root.nodes) {
      for (const argument of node.outputs || []) {
        const value = (argument.value || argument.arguments || [])[0];
        const i = value ? known.get(value.name) : undefined;
        if (i !== undefined && this.drawn(node)) this.nodes.set(i, node);
      }
    }
    this.indices = new Map([...this.nodes].map(([i, node]) => [node, i]));
  }

  drawn(node) {
    const entry = this.graph._table.get(node);
    return entry ? entry.element : undefined;
  }

  element(i) { return this.nodes.has(i) ? this.drawn(this.nodes.get(i)) : undefined; }

  mark(indices, name) {
    for (const i of indices) {
      const element = this.element(i);
      if (element) element.classList.add(`onnxac-${name}`);
    }
  }

  paint() {
    for (const [name, indices] of Object.entries(setup.kinds)) this.mark(indices, name);
  }

  peers(indices) {
    for (const old of document.querySelectorAll(".onnxac-peer")) old.classList.remove("onnxac-peer");
    this.mark(indices, "peer");
  }

  listen(graph) {
    const select = graph.select;
    graph.select = (selection, ...rest) => {
      const result = select.call(graph, selection, ...rest);
      const found = [...(selection || [])].map((n) => this.indices.get(n)).filter((i) => i !== undefined);
      if (this.quiet === 0 && found.length > 0) this.onselect(found);
      return result;
    };
    const zoomer = this.zoomer;
    if (!zoomer.onnxac) {
      zoomer.onnxac = true;
      const update = need(zoomer._updateZoom, "zoom");
      zoomer._updateZoom = (...args) => {
        update.apply(zoomer, args);
        if (this.quiet === 0) this.onzoom();
      };
    }
    if (!this.listening) {
      this.listening = true;
      this.container.addEventListener("scroll", () => this.onscroll(), { passive: true });
    }
  }

  // The colours of the page: Netron follows the system's only.
  scheme(name) {
    for (const sheet of document.styleSheets) {
      for (const rule of sheet.cssRules) {
        if (!(rule instanceof CSSMediaRule)) continue;
        if (!darkRules.has(rule) && /prefers-color-scheme:\s*dark/.test(rule.conditionText)) {
          darkRules.set(rule, rule.conditionText);
        }
        if (darkRules.has(rule)) {
          const condition = { auto: darkRules.get(rule), light: "not all", dark: "all" }[name];
          rule.media.mediaText = condition;
        }
      }
    }
  }

  select(indices) {
    const nodes = indices.filter((i) => this.nodes.has(i)).map((i) => this.nodes.get(i));
    this.silently(() => this.graph.select(nodes.length > 0 ? nodes : null));
  }

  // Netron's panel of properties is of a node that the reader has moved on from.
  closePanel() {
    const panel = this.view._sidebar;
    const drawn = document.getElementById("sidebar");
    if (!panel || typeof panel.close !== "function" || !drawn || drawn.style.opacity !== "1") return;
    // Netron would take the focus for its graph.
    setup.started = false;
    this.silently(() => panel.close());
    setup.started = true;
  }

  // A node's box on the canvas at zoom 1.
  box(i) {
    const element = this.element(i);
    if (!element) return undefined;
    const canvas = this.canvas.getBoundingClientRect();
    const rect = element.getBoundingClientRect();
    const z = this.zoom;
    return {
      left: (rect.left - canvas.left) / z, right: (rect.right - canvas.left) / z,
      top: (rect.top - canvas.top) / z, bottom: (rect.bottom - canvas.top) / z,
    };
  }

  // The point of the canvas, at zoom 1, that is in the middle of the pane.
  get centre() {
    const frame = this.container.getBoundingClientRect();
    const canvas = this.canvas.getBoundingClientRect();
    return {
      x: (frame.left + this.container.clientWidth / 2 - canvas.left) / this.zoom,
      y: (frame.top + this.container.clientHeight / 2 - canvas.top) / this.zoom,
    };
  }

  moveTo(x, y, behavior) {
    const { centre, zoom, container } = this;
    // Netron remembers where a zoom wanted to scroll to, and would go back there.
    delete this.zoomer._scrollLeft;
    delete this.zoomer._scrollTop;
    container.scrollTo({
      left: container.scrollLeft + (x - centre.x) * zoom,
      top: container.scrollTop + (y - centre.y) * zoom,
      behavior: behavior || "auto",
    });
  }
}

async function start() {
  window.exports = window.exports || {};
  const view = new View(new Host());
  window.__view__ = view;
  await view.start();
  need(view.target || view._target || view._graph, "drawn graph");
  setup.ready(new Pane(view));
}

start().catch((error) => setup.failed(error));
