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

  function openPane(side, html, setup) {
    return new Promise((resolve, reject) => {
      const frame = document.createElement("iframe");
      frame.title = `${side}: the graph in Netron`;
      frame.onnxacPane = { ...setup, ready: resolve, failed: reject };
      frame.srcdoc = html;
      // A sandboxed viewer keeps the page away from its own frames.
      frame.addEventListener("load", () => {
        if (!frame.contentDocument) reject(new Error("this viewer keeps frames apart"));
      });
      $(`pane-${side}`).append(frame);
    }).then((pane) => {
      $(`pane-${side}`).querySelector("iframe").onnxacPane.started = true;
      $(`pane-${side}`).querySelector(".wait").remove();
      return pane;
    });
  }

  async function open() {
    const [netron, links] = (await Promise.all([unpackText("data-netron"), unpackText("data-links")])).map(JSON.parse);
    const models = { before: await unpack("data-before"), after: await unpack("data-after") };
    const imports = {};
    for (const [name, source] of Object.entries(netron.modules)) {
      imports[`netron/${name}`] = blob(source, "text/javascript");
    }
    const large = links.before.length + links.after.length > 400;
    const worker = large ? workerSource(netron.modules) : null;
    const html = documentFor(netron, imports);
    const kinds = {
      before: { removed: links.removed, changed: links.changed.map(([i]) => i) },
      after: { added: links.added, changed: links.changed.map(([, j]) => j) },
    };
    $("panes").hidden = false;
    document.body.classList.add("has-panes");
    const panes = await Promise.all(
      ["before", "after"].map((side) =>
        openPane(side, html, {
          file: new File([models[side]], `${side}.onnx`),
          metadata: netron.metadata,
          keys: links[side],
          kinds: kinds[side],
          worker,
        }),
      ),
    );
    window.onnxac.link({ before: panes[0], after: panes[1] }, links);
    document.body.dataset.panes = "ready";
  }

  // Beyond this many nodes drawing takes many seconds: it waits until it is asked for.
  const MANY = 6000;

  function offer(nodes) {
    const button = document.createElement("button");
    button.type = "button";
    button.id = "draw";
    button.textContent = `Draw both graphs (${nodes.toLocaleString("en")} nodes, this takes a while)`;
    button.addEventListener("click", () => {
      button.remove();
      open().catch(fail);
    });
    $("panes").before(button);
  }

  // The first useful sight is the page itself: let it be painted before the unpacking.
  const nodes = Number($("panes").dataset.nodes);
  if (nodes > MANY) offer(nodes);
  else requestAnimationFrame(() => setTimeout(() => open().catch(fail), 30));
})();
