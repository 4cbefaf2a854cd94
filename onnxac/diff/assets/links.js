// Ties the two panes and the cards together: selection, zoom, scroll.
(() => {
  "use strict";
  const other = { before: "after", after: "before" };

  // The longest rising run of second values: matched nodes that keep their order.
  function rising(points) {
    const tails = [];
    const back = points.map(() => -1);
    points.forEach((point, k) => {
      let low = 0;
      let high = tails.length;
      while (low < high) {
        const mid = (low + high) >> 1;
        if (points[tails[mid]].after.y < point.after.y) low = mid + 1;
        else high = mid;
      }
      back[k] = low > 0 ? tails[low - 1] : -1;
      tails[low] = k;
    });
    const kept = [];
    for (let k = tails.length > 0 ? tails[tails.length - 1] : -1; k >= 0; k = back[k]) kept.push(points[k]);
    return kept.reverse();
  }

  // Carries a point of one canvas to the other, between the matched nodes around it.
  function carry(points, from, at) {
    const to = other[from];
    if (points.length === 0) return at;
    let k = points.findIndex((p) => p[from].y > at.y);
    if (k < 0) k = points.length;
    const a = points[Math.max(0, k - 1)];
    const b = points[Math.min(points.length - 1, k)];
    const span = b[from].y - a[from].y;
    const t = span > 0 ? Math.max(0, Math.min(1, (at.y - a[from].y) / span)) : 0;
    const mix = (side, axis) => a[side][axis] + t * (b[side][axis] - a[side][axis]);
    const beyond = { x: at.x - mix(from, "x"), y: at.y - mix(from, "y") };
    return { x: mix(to, "x") + beyond.x, y: mix(to, "y") + beyond.y };
  }

  function middle(box) {
    return { x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 };
  }

  function around(boxes) {
    return {
      left: Math.min(...boxes.map((b) => b.left)), right: Math.max(...boxes.map((b) => b.right)),
      top: Math.min(...boxes.map((b) => b.top)), bottom: Math.max(...boxes.map((b) => b.bottom)),
    };
  }

  function link(panes, links) {
    const { cards, choose, mark } = window.onnxac;
    const partners = { before: new Map(), after: new Map() };
    const groupOf = { before: new Map(), after: new Map() };
    for (const [i, j] of [...links.unchanged, ...links.changed]) {
      partners.before.set(i, [j]);
      partners.after.set(j, [i]);
    }
    links.groups.forEach(([before, after], g) => {
      for (const i of before) { partners.before.set(i, after); groupOf.before.set(i, g); }
      for (const j of after) { partners.after.set(j, before); groupOf.after.set(j, g); }
    });

    for (const [i, g] of links.near) {
      partners.before.set(i, links.groups[g][1]);
      groupOf.before.set(i, g);
    }

    let points = [];
    function anchor() {
      const pairs = [...links.unchanged, ...links.changed];
      for (const [before, after] of links.groups) {
        if (before.length > 0 && after.length > 0) pairs.push([before[before.length - 1], after[after.length - 1]]);
      }
      const found = [];
      for (const [i, j] of pairs) {
        const boxes = [panes.before.box(i), panes.after.box(j)];
        if (boxes[0] && boxes[1]) found.push({ before: middle(boxes[0]), after: middle(boxes[1]) });
      }
      points = rising(found.sort((p, q) => p.before.y - q.before.y));
    }

    // Brings nodes into view; too many to see at once are shown by their last.
    function bring(pane, indices, zoom, behavior) {
      const boxes = indices.map((i) => pane.box(i)).filter(Boolean);
      if (boxes.length === 0) return;
      const all = around(boxes);
      const fits = (all.bottom - all.top) * zoom < pane.container.clientHeight;
      const { x, y } = middle(fits ? all : boxes.reduce((a, b) => (b.bottom > a.bottom ? b : a)));
      pane.moveTo(x, y, behavior);
    }

    function fitting(pane, indices) {
      const boxes = indices.map((i) => pane.box(i)).filter(Boolean);
      if (boxes.length === 0) return 1;
      const all = around(boxes);
      const { clientWidth, clientHeight } = pane.container;
      const zoom = Math.min(clientWidth / (all.right - all.left + 60), clientHeight / (all.bottom - all.top + 120));
      return Math.max(0.35, Math.min(1, zoom));
    }

    let leader = null;
    for (const side of Object.keys(panes)) {
      const lead = () => { leader = side; };
      for (const event of ["pointerenter", "pointerdown", "wheel", "touchstart", "keydown"]) {
        panes[side].container.ownerDocument.addEventListener(event, lead, { passive: true, capture: true });
      }
    }
    const linked = document.getElementById("linked");
    const follows = (side) => linked.checked && leader === side;

    function show(g, still) {
      leader = null;
      const [before, after] = links.groups[g];
      const zoom = Math.min(fitting(panes.before, before), fitting(panes.after, after));
      for (const [pane, indices] of [[panes.before, before], [panes.after, after]]) {
        pane.zoom = zoom;
        pane.select([]);
        pane.peers(indices);
        bring(pane, indices, zoom, "auto");
      }
      if (still) {
        mark(g);
      } else {
        choose(g);
        document.getElementById("panes").scrollIntoView({ block: "nearest" });
      }
    }

    for (const [side, pane] of Object.entries(panes)) {
      const twin = panes[other[side]];
      pane.onselect = (indices) => {
        const there = [...new Set(indices.flatMap((i) => partners[side].get(i) || []))];
        twin.select(there);
        leader = null;
        const g = groupOf[side].get(indices[0]);
        const group = g === undefined ? [[], []] : links.groups[g];
        panes.before.peers(group[0]);
        panes.after.peers(group[1]);
        bring(twin, there, twin.zoom, "smooth");
        choose(g === undefined ? -1 : g);
      };
      pane.onzoom = () => {
        if (!follows(side)) return;
        twin.zoom = pane.zoom;
        const { x, y } = carry(points, side, pane.centre);
        twin.moveTo(x, y);
      };
      pane.onscroll = () => {
        if (!follows(side)) return;
        const { x, y } = carry(points, side, pane.centre);
        twin.moveTo(x, y);
      };
      pane.onredraw = anchor;
    }

    const paint = () => {
      for (const pane of Object.values(panes)) pane.scheme(document.documentElement.dataset.theme || "auto");
    };
    paint();
    document.addEventListener("scheme", paint);

    anchor();
    for (const [g, card] of cards.entries()) {
      card.dataset.live = "";
      card.querySelector(".show").hidden = false;
      card.addEventListener("click", (e) => {
        if (!e.target.closest("summary, a, input, .names")) show(g);
      });
    }
    window.onnxac.show = show;
    window.onnxac.panes = panes;
    if (links.groups.length > 0) show(0, true);
  }

  window.onnxac.link = link;

  const wide = document.getElementById("wide");
  if (wide) {
    wide.addEventListener("click", () => {
      const on = document.body.classList.toggle("wide");
      wide.setAttribute("aria-pressed", String(on));
      wide.textContent = on ? "Show the list" : "Hide the list";
    });
  }
})();
