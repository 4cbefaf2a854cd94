// Points and boxes on the two canvases. A point of one canvas is carried to the other along
// the matched nodes around it.
window.onnxac.geometry = (() => {
  "use strict";
  const middle = (box) => ({ x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 });

  const around = (boxes) => ({
    left: Math.min(...boxes.map((b) => b.left)),
    right: Math.max(...boxes.map((b) => b.right)),
    top: Math.min(...boxes.map((b) => b.top)),
    bottom: Math.max(...boxes.map((b) => b.bottom)),
  });

  const boxes = (pane, indices) => indices.map((i) => pane.box(i)).filter(Boolean);

  // The longest run of points that rises on both canvases: matched nodes that keep their order.
  function rising(points) {
    const sorted = points.slice().sort((p, q) => p.before.y - q.before.y);
    const tails = [];
    const back = [];
    sorted.forEach((point, k) => {
      let low = 0;
      let high = tails.length;
      while (low < high) {
        const mid = (low + high) >> 1;
        if (sorted[tails[mid]].after.y < point.after.y) low = mid + 1;
        else high = mid;
      }
      back[k] = low > 0 ? tails[low - 1] : -1;
      tails[low] = k;
    });
    const kept = [];
    for (let k = tails.length > 0 ? tails[tails.length - 1] : -1; k >= 0; k = back[k]) kept.push(sorted[k]);
    return kept.reverse();
  }

  // Where `at`, on the canvas `from`, is on the canvas `to`.
  function carry(points, from, to, at) {
    if (points.length === 0) return at;
    let k = points.findIndex((p) => p[from].y > at.y);
    if (k < 0) k = points.length;
    const a = points[Math.max(0, k - 1)];
    const b = points[Math.min(points.length - 1, k)];
    const span = b[from].y - a[from].y;
    const t = span > 0 ? Math.max(0, Math.min(1, (at.y - a[from].y) / span)) : 0;
    const mix = (side, axis) => a[side][axis] + t * (b[side][axis] - a[side][axis]);
    return {
      x: mix(to, "x") + at.x - mix(from, "x"),
      y: mix(to, "y") + at.y - mix(from, "y"),
    };
  }

  // The zoom at which some nodes fill their pane, within what is readable.
  function fitting(pane, indices) {
    const found = boxes(pane, indices);
    if (found.length === 0) return 1;
    const all = around(found);
    const { clientWidth, clientHeight } = pane.container;
    const zoom = Math.min(clientWidth / (all.right - all.left + 60), clientHeight / (all.bottom - all.top + 120));
    return Math.max(0.35, Math.min(1, zoom));
  }

  // How far the middle of a pane is below the middle of what the window shows of it.
  function lowered(pane) {
    const { top, bottom } = pane.container.ownerDocument.defaultView.frameElement.getBoundingClientRect();
    const first = Math.max(top, 0);
    const last = Math.min(bottom, window.innerHeight);
    return last - first < 200 ? 0 : (top + bottom - first - last) / 2;
  }

  // Brings nodes into view; too many to see at once are shown by their last.
  function bring(pane, indices, behavior) {
    const found = boxes(pane, indices);
    if (found.length === 0) return;
    const all = around(found);
    const fits = (all.bottom - all.top) * pane.zoom < pane.container.clientHeight;
    const { x, y } = middle(fits ? all : found.reduce((a, b) => (b.bottom > a.bottom ? b : a)));
    pane.moveTo(x, y + lowered(pane) / pane.zoom, behavior);
  }

  return { middle, rising, carry, fitting, bring };
})();
