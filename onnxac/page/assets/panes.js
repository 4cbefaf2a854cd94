// Unpacks the two viewers, after the page has been drawn. Where a viewer can't start, the
// page stays as it is and says why.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  if (!$("panes") || !$("data-netron")) return;

  async function unpack(id) {
    const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
  const unpackText = async (id) => new TextDecoder().decode(await unpack(id));
  const blob = (text, type) => URL.createObjectURL(new Blob([text], { type }));

  function fail(error) {
    const text = error && error.message ? error.message : String(error);
    $("panes").hidden = true;
    document.body.classList.remove("has-panes");
    const trouble = $("trouble");
    trouble.textContent = `The graphs can't be drawn side by side: ${text}. Everything else on this page holds.`;
    trouble.hidden = false;
    window.onnxac.show = null;
  }

  // Layout off the main thread. A page from a file may start classic workers only, so the
  // two modules become one script; where they don't have the expected form, there is no worker.
  function workerSource(modules) {
    const exported = /^export const \{[^}]*\} = dagre;\s*$/m;
    const imported = /import\((['"])netron\/dagre\1\)/g;
    const { dagre, worker } = modules;
    if (!dagre || !worker || !exported.test(dagre) || !imported.test(worker)) return null;
    const layout = dagre.replace(exported, "var onnxacLayout = dagre;\n");
    return blob(layout + worker.replaceAll(imported, "Promise.resolve(onnxacLayout)"), "text/javascript");
  }

  // Before Netron's modules: the way back to the page, and its ear for what goes wrong.
  const BOOT = `
    window.exports = {};
    window.onnxacPane = frameElement.onnxacPane;
    const focus = HTMLElement.prototype.focus;
    HTMLElement.prototype.focus = function (options) {
      // The reader's focus and place on the page are not Netron's to take when it starts.
      if (onnxacPane.started) focus.call(this, { preventScroll: true, ...options });
    };
    const tell = (e) => onnxacPane.failed(e.error || e.reason || new Error(e.message || "a module failed to load"));
    addEventListener("error", tell, true);
    addEventListener("unhandledrejection", tell);`;

  function documentFor(netron, imports) {
    const map = JSON.stringify({ imports });
    const scripts =
      `<script type="importmap">${map}<\/script>` +
      `<script>${BOOT}<\/script>` +
      `<script type="module">${netron.frame["frame.js"].replaceAll("</", "<\\/")}<\/script>`;
    const head = `<style>${netron.style}\n${netron.frame["frame.css"]}</style>${scripts}</head>`;
    return netron.html.replace("</head>", () => head);
  }

  // A viewer that never says that it is ready is given up, and the page says so.
  const PATIENCE = Number($("panes").dataset.patience) || 120_000;

  function openPane(side, html, setup) {
    const frame = document.createElement("iframe");
    return new Promise((resolve, reject) => {
      frame.title = `${side}: the graph in Netron`;
      frame.onnxacPane = { ...setup, ready: resolve, failed: reject };
      frame.srcdoc = html;
      const late = new Error(`the viewer did not answer within ${PATIENCE / 1000} s`);
      setTimeout(() => reject(late), PATIENCE);
      // A sandboxed viewer keeps the page away from its own frames.
      frame.addEventListener("load", () => {
        if (!frame.contentDocument) reject(new Error("this viewer keeps frames apart"));
      });
      $(`pane-${side}`).append(frame);
    }).then((pane) => {
      frame.onnxacPane.started = true;
      return { pane, frame };
    });
  }

  const SIDES = ["before", "after"];

  // What was drawn so far stays in sight until both of the next are there.
  async function drawBoth(prefix, viewer, links) {
    const old = [...document.querySelectorAll(".place iframe")];
    const models = {};
    for (const side of SIDES) models[side] = await unpack(`data-${prefix}${side}`);
    const opened = await Promise.all(
      SIDES.map((side) =>
        openPane(side, viewer.html, {
          file: new File([models[side]], `${side}.onnx`),
          metadata: viewer.metadata,
          keys: links[side],
          kinds: viewer.kinds[side],
          worker: prefix ? null : viewer.worker,
        }),
      ),
    );
    for (const frame of old) frame.remove();
    for (const wait of document.querySelectorAll(".wait")) wait.remove();
    window.onnxac.link({ before: opened[0].pane, after: opened[1].pane }, links);
  }

  function say(text) {
    for (const more of document.querySelectorAll(".more")) more.textContent = text;
  }

  async function prepare() {
    const [netron, links] = (await Promise.all([unpackText("data-netron"), unpackText("data-links")])).map(JSON.parse);
    const imports = {};
    for (const [name, source] of Object.entries(netron.modules)) {
      imports[`netron/${name}`] = blob(source, "text/javascript");
    }
    const large = "large" in $("panes").dataset;
    const kinds = {
      before: { removed: links.removed, changed: links.changed.map(([i]) => i) },
      after: { added: links.added, changed: links.changed.map(([, j]) => j) },
    };
    const worker = large ? workerSource(netron.modules) : null;
    const viewer = { html: documentFor(netron, imports), metadata: netron.metadata, kinds, worker };
    $("panes").hidden = false;
    document.body.classList.add("has-panes");
    return [viewer, links];
  }

  // Of a large graph the part around the first change comes at once, and the rest when it is
  // laid out; of a huge one when it is asked for.
  async function open() {
    const hasNear = $("data-near-before") !== null;
    const asked = nodes > MANY ? offer() : Promise.resolve();
    if (!hasNear) await asked;
    const [viewer, links] = await prepare();
    if (hasNear) {
      await drawBoth("near-", viewer, links);
      document.body.dataset.panes = "near";
      say("around this block");
      await asked;
      say("around this block; drawing the whole graph…");
      try {
        await drawBoth("", viewer, links);
      } catch (error) {
        say(`around this block; the whole graph can't be drawn: ${error.message}`);
        return;
      }
      say("");
    } else {
      await drawBoth("", viewer, links);
    }
    document.body.dataset.panes = "ready";
  }

  // Beyond this many nodes drawing takes many seconds: it waits until it is asked for.
  const MANY = 6000;

  const nodes = Number($("panes").dataset.nodes);

  function offer() {
    const button = document.createElement("button");
    button.type = "button";
    button.id = "draw";
    button.textContent = `Draw both graphs (${nodes.toLocaleString("en")} nodes, this takes a while)`;
    $("panes").before(button);
    return new Promise((resolve) => {
      button.addEventListener("click", () => {
        button.remove();
        resolve();
      });
    });
  }

  // The first useful sight is the page itself: let it be painted before the unpacking.
  requestAnimationFrame(() => setTimeout(() => open().catch(fail), 30));
})();
