// Ties the two panes and the cards together: selection, zoom, scroll.
(() => {
  "use strict";
  const { middle, rising, carry, fitting, bring } = window.onnxac.geometry;
  const other = { before: "after", after: "before" };

  class Links {
    constructor(panes, matching) {
      this.panes = panes;
      this.matching = matching;
      this.leader = null;
      this.partners = { before: new Map(), after: new Map() };
      this.groupOf = { before: new Map(), after: new Map() };
      this.points = [];
      this.index();
      this.anchor();
    }

    get pairs() { return [...this.matching.unchanged, ...this.matching.changed]; }

    index() {
      const { partners, groupOf, matching } = this;
      for (const [i, j] of this.pairs) {
        partners.before.set(i, [j]);
        partners.after.set(j, [i]);
      }
      matching.groups.forEach(([before, after], g) => {
        for (const i of before) { partners.before.set(i, after); groupOf.before.set(i, g); }
        for (const j of after) { partners.after.set(j, before); groupOf.after.set(j, g); }
      });
      for (const [i, g] of matching.near) {
        partners.before.set(i, matching.groups[g][1]);
        groupOf.before.set(i, g);
      }
    }

    // The points that scrolling goes by: matched nodes, and the last node of each group.
    anchor() {
      const last = ([before, after]) => [before[before.length - 1], after[after.length - 1]];
      const found = [];
      for (const [i, j] of [...this.pairs, ...this.matching.groups.map(last)]) {
        const before = this.panes.before.box(i);
        const after = this.panes.after.box(j);
        if (before && after) found.push({ before: middle(before), after: middle(after) });
      }
      this.points = rising(found);
    }

    each(action) {
      for (const [side, pane] of Object.entries(this.panes)) action(pane, side);
    }

    // The pane under the reader's hand leads; what the other does in turn is not sent back.
    follow(pane, side) {
      const lead = () => { this.leader = side; };
      for (const event of ["pointerenter", "pointerdown", "wheel", "touchstart", "keydown"]) {
        pane.container.ownerDocument.addEventListener(event, lead, { passive: true, capture: true });
      }
      const linked = document.getElementById("linked");
      const isLeading = () => linked.checked && this.leader === side;
      const twin = this.panes[other[side]];
      const move = () => {
        const { x, y } = carry(this.points, side, other[side], pane.centre);
        twin.moveTo(x, y);
      };
      pane.onscroll = () => { if (isLeading()) move(); };
      pane.onzoom = () => {
        if (!isLeading()) return;
        twin.zoom = pane.zoom;
        move();
      };
      pane.onselect = (indices) => this.select(side, indices);
      pane.onredraw = () => this.anchor();
    }

    // A node was selected in one pane: its counterpart in the other, and the card of both.
    select(side, indices) {
      const twin = this.panes[other[side]];
      const there = [...new Set(indices.flatMap((i) => this.partners[side].get(i) || []))];
      const g = this.groupOf[side].get(indices[0]);
      const [before, after] = g === undefined ? [[], []] : this.matching.groups[g];
      this.leader = null;
      this.panes.before.peers(before);
      this.panes.after.peers(after);
      twin.closePanel();
      twin.select(there);
      bring(twin, there, "smooth");
      window.onnxac.choose(g === undefined ? -1 : g);
    }

    // Both panes show one group, at one zoom.
    show(g) {
      const sides = { before: this.matching.groups[g][0], after: this.matching.groups[g][1] };
      this.leader = null;
      const zooms = Object.keys(sides).map((side) => fitting(this.panes[side], sides[side]));
      this.each((pane, side) => {
        pane.zoom = Math.min(...zooms);
        pane.closePanel();
        pane.select([]);
        pane.peers(sides[side]);
        bring(pane, sides[side]);
      });
    }
  }

  function wireCards(show) {
    for (const [g, card] of window.onnxac.cards.entries()) {
      card.dataset.live = "";
      card.querySelector(".show").hidden = false;
      card.addEventListener("click", (e) => {
        if (!e.target.closest("details, a")) show(g);
      });
    }
  }

  // The panes that are drawn now. The whole graphs take the place of a part of them.
  let links = null;

  function paint() {
    links.each((pane) => pane.scheme(document.documentElement.dataset.theme || "auto"));
  }

  window.onnxac.link = (panes, matching) => {
    const isFirst = links === null;
    links = new Links(panes, matching);
    links.each((pane, side) => links.follow(pane, side));
    paint();
    if (isFirst) {
      document.addEventListener("scheme", paint);
      window.onnxac.show = (g) => {
        links.show(g);
        window.onnxac.choose(g);
        document.getElementById("panes").scrollIntoView({ block: "nearest" });
      };
      wireCards(window.onnxac.show);
    }
    if (matching.groups.length > 0) {
      const g = Math.max(0, window.onnxac.shown());
      links.show(g);
      window.onnxac.mark(g);
    }
  };

  const wide = document.getElementById("wide");
  if (wide) {
    wide.addEventListener("click", () => {
      const on = document.body.classList.toggle("wide");
      wide.setAttribute("aria-pressed", String(on));
      wide.textContent = on ? "Show the list" : "Hide the list";
    });
  }
})();
