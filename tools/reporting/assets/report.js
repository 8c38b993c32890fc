// Charts of a report: lines of arrays, drawn as SVG. They zoom, pan, tell the numbers of a frame,
// and share a cursor where they show the same frames. Nothing is fetched.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const MARGIN = { left: 58, right: 14, top: 10, bottom: 42 };
  const NEAR_PX = 40; // a pointer farther from every line of a trajectory means no frame
  const ROBUST = 0.01; // share of the values at either end that may lie outside of the picture

  function add(parent, name, attributes = {}, text = null) {
    const found = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
    if (text !== null) found.textContent = text;
    parent.appendChild(found);
    return found;
  }

  function addHtml(parent, name, className = "", text = null) {
    const found = document.createElement(name);
    if (className) found.className = className;
    if (text !== null) found.textContent = text;
    parent.appendChild(found);
    return found;
  }

  const known = (value) => value !== null && value !== undefined;
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function shown(value) {
    if (!known(value)) return "-";
    if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
    return String(Number(value.toPrecision(4)));
  }

  function ticks(low, high, count) {
    const rough = (high - low) / Math.max(count, 1);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
    const digits = clamp(-Math.floor(Math.log10(step)), 0, 12);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) {
      found.push([i * step, (i * step).toFixed(digits).replace(/^-(0(\.0*)?)$/, "$1")]);
    }
    return found;
  }

  function limits(values, robust) {
    const sorted = Float64Array.from(values.filter(known)).sort();
    if (!sorted.length) return null;
    const cut = robust ? Math.floor(ROBUST * (sorted.length - 1)) : 0;
    return [sorted[cut], sorted[sorted.length - 1 - cut]];
  }

  function widened([low, high], share) {
    const room = (high - low) * share || Math.abs(low) * 0.1 || 1;
    return [low - room, high + room];
  }

  class Chart {
    constructor(parent, spec, group, cursor) {
      this.spec = spec;
      this.group = group;
      this.cursor = cursor; // shared, or of this chart alone
      this.lines = spec.lines.map((line) => ({
        ...line,
        xs: group.arrays[line.x],
        ys: group.arrays[line.y],
        values: group.arrays[line.value ?? line.y],
        on: true,
      }));
      this.build(parent);
      this.reset();
      new ResizeObserver(() => this.plot.clientWidth !== this.width && this.draw()).observe(this.plot);
    }

    build(parent) {
      const figure = addHtml(parent, "figure", this.spec.equal ? "chart map" : "chart");
      figure.id = `chart-${this.group.number}-${this.spec.id}`;
      const head = addHtml(figure, "figcaption");
      addHtml(head, "h3", "", this.spec.title);
      addHtml(head, "p", "note", this.spec.note);
      const bar = addHtml(figure, "div", "bar");
      const legend = addHtml(bar, "div", "legend");
      for (const line of this.lines) this.addLegend(legend, line);
      if (this.spec.linked && this.group.lost.length) {
        addHtml(legend, "span", "key warning", `${this.spec.equal ? "×" : "|"} not tracked`);
      }
      const buttons = addHtml(bar, "div", "buttons");
      for (const [sign, label, act] of [
        ["+", "zoom in", () => this.zoom(0.6)],
        ["−", "zoom out", () => this.zoom(1 / 0.6)],
        ["⟲", "show all", () => this.reset()],
      ]) {
        const button = addHtml(buttons, "button", "", sign);
        button.type = "button";
        button.title = label;
        button.setAttribute("aria-label", `${label}: ${this.spec.title}`);
        button.addEventListener("click", act);
      }
      this.plot = addHtml(figure, "div", "plot");
      this.plot.tabIndex = 0;
      this.plot.setAttribute("role", "group");
      this.plot.setAttribute("aria-label", `${this.spec.title}. Arrow keys move from frame to frame.`);
      this.svg = add(this.plot, "svg", { role: "img", "aria-label": this.described() });
      this.tip = addHtml(this.plot, "div", "tip");
      this.tip.setAttribute("aria-live", "polite");
      this.tip.hidden = true;
      this.listen();
    }

    described() {
      const parts = this.lines.map((line) => {
        const range = limits(line.values, false);
        const name = `${line.label}${line.unit ? ` (${line.unit})` : ""}`;
        return range ? `${name} from ${shown(range[0])} to ${shown(range[1])}` : name;
      });
      return `${this.spec.title}: ${this.spec.y} over ${this.spec.x}; ${parts.join(", ")}`;
    }

    addLegend(legend, line) {
      const button = addHtml(legend, "button", "key");
      button.type = "button";
      button.title = `show or hide ${line.label}`;
      button.setAttribute("aria-pressed", "true");
      const swatch = add(button, "svg", { width: 22, height: 10, "aria-hidden": "true" });
      this.paint(add(swatch, "path", { d: "M1 5H21", class: "line" }), line);
      addHtml(button, "span", "", line.label);
      button.addEventListener("click", () => {
        line.on = !line.on;
        button.setAttribute("aria-pressed", String(line.on));
        this.fit();
      });
    }

    paint(path, line) {
      path.style.stroke = `var(--line-${line.colour === "truth" ? "truth" : line.colour % 8})`;
      const round = line.colour === "truth" ? 0 : Math.floor(line.colour / 8) % 2;
      if (line.colour === "truth") path.classList.add("truth");
      const dashes = { 0: line.dashed ? "5 4" : "", 1: line.dashed ? "2 4" : "12 4" }[round];
      if (dashes) path.setAttribute("stroke-dasharray", dashes);
      return path;
    }

    // ---- what is in the picture ----

    get inner() {
      const width = this.width - MARGIN.left - MARGIN.right;
      return { width, height: this.height - MARGIN.top - MARGIN.bottom };
    }

    measure() {
      this.width = this.plot.clientWidth || 640; // not laid out, as in a closed part of the page
      const tall = clamp(this.width * 0.72, 300, 520);
      this.height = this.spec.equal ? tall : clamp(this.width * 0.5, 220, 280);
    }

    reset() {
      const used = this.lines.filter((line) => line.on);
      const all = (name) => (used.length ? used : this.lines).flatMap(
        (line) => line[name].filter((_, i) => !line.dots || known(line.ys[i])));
      this.x = limits(all("xs"), false) ?? [0, 1];
      if (this.x[0] === this.x[1]) this.x = widened(this.x, 0);
      this.y = limits(all("ys"), false) ?? [0, 1];
      if (this.spec.equal) {
        this.x = widened(this.x, 0.06);
        this.y = widened(this.y, 0.06);
      } else if (this.lines.some((line) => line.dots)) {
        this.x = widened(this.x, 0.04);
      }
      this.whole = this.x;
      this.fit();
    }

    fit() {
      if (!this.spec.equal) this.y = this.fitted();
      this.draw();
    }

    fitted() {
      const inside = this.lines
        .filter((line) => line.on)
        .flatMap((line) => line.ys.filter((_, i) => line.xs[i] >= this.x[0] && line.xs[i] <= this.x[1]));
      let [low, high] = limits(inside, this.spec.robust) ?? [0, 1];
      if (known(this.spec.reference)) {
        low = Math.min(low, this.spec.reference);
        high = Math.max(high, this.spec.reference);
      }
      if (this.spec.zero) return [0, high > 0 ? high * 1.08 : 1];
      return widened([low, high], 0.08);
    }

    // Equal axes: as many pixels a metre along both, around the middle of what was asked for.
    shownRanges() {
      if (!this.spec.equal) return [this.x, this.y];
      const { width, height } = this.inner;
      const perPixel = Math.max((this.x[1] - this.x[0]) / width, (this.y[1] - this.y[0]) / height);
      const around = ([low, high], pixels) => {
        const middle = (low + high) / 2;
        return [middle - (pixels * perPixel) / 2, middle + (pixels * perPixel) / 2];
      };
      return [around(this.x, width), around(this.y, height)];
    }

    zoom(factor, at = null) {
      const [x, y] = this.shownRanges();
      const spot = at ?? [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2];
      const scaled = (range, middle) => range.map((value) => middle + (value - middle) * factor);
      const next = scaled(x, spot[0]);
      const least = (this.whole[1] - this.whole[0]) / 1e4;
      if (next[1] - next[0] < least) return;
      if (this.spec.equal) {
        if (next[1] - next[0] > 50 * (this.whole[1] - this.whole[0])) return;
        this.x = next;
        this.y = scaled(y, spot[1]);
      } else {
        this.x = [Math.max(next[0], this.whole[0]), Math.min(next[1], this.whole[1])];
      }
      this.fit();
    }

    pan(dx, dy) {
      const [x, y] = this.shownRanges();
      const shift = (dx / this.inner.width) * (x[1] - x[0]);
      if (this.spec.equal) {
        const lift = (dy / this.inner.height) * (y[1] - y[0]);
        this.x = x.map((value) => value - shift);
        this.y = y.map((value) => value + lift);
      } else {
        const held = clamp(shift, x[1] - this.whole[1], x[0] - this.whole[0]);
        this.x = x.map((value) => value - held);
      }
      this.fit();
    }

    // ---- drawing ----

    draw() {
      this.measure();
      const { width, height } = this.inner;
      [this.rangeX, this.rangeY] = this.shownRanges();
      this.toX = (v) => MARGIN.left + ((v - this.rangeX[0]) / (this.rangeX[1] - this.rangeX[0])) * width;
      this.toY = (v) => MARGIN.top + ((this.rangeY[1] - v) / (this.rangeY[1] - this.rangeY[0])) * height;
      this.svg.replaceChildren();
      this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
      this.svg.setAttribute("height", this.height);
      this.drawAxes(width, height);
      const id = `clip-${this.group.number}-${this.spec.id}`;
      add(add(this.svg, "clipPath", { id }), "rect", {
        x: MARGIN.left, y: MARGIN.top, width, height,
      });
      const inside = add(this.svg, "g", { "clip-path": `url(#${id})` });
      if (known(this.spec.reference)) {
        const y = this.toY(this.spec.reference);
        add(inside, "path", { d: `M${MARGIN.left} ${y}H${MARGIN.left + width}`, class: "reference" });
      }
      for (const line of this.lines) if (line.on) this.drawLine(inside, line);
      this.drawLost(inside);
      if (this.spec.equal) this.drawStart(inside);
      this.marks = add(this.svg, "g", { class: "marks" });
      this.drawCursor();
    }

    drawAxes(width, height) {
      const bottom = MARGIN.top + height;
      for (const [value, text] of ticks(...this.rangeX, width / 60)) {
        const x = this.toX(value);
        add(this.svg, "path", { d: `M${x} ${MARGIN.top}V${bottom}`, class: "grid" });
        add(this.svg, "text", { x, y: bottom + 16, "text-anchor": "middle" }, text);
      }
      for (const [value, text] of ticks(...this.rangeY, height / 45)) {
        const y = this.toY(value);
        add(this.svg, "path", { d: `M${MARGIN.left} ${y}h${width}`, class: "grid" });
        add(this.svg, "text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, text);
      }
      add(this.svg, "text", { x: MARGIN.left + width / 2, y: bottom + 36, "text-anchor": "middle" }, this.spec.x);
      const y = MARGIN.top + height / 2;
      add(this.svg, "text", { x: 13, y, "text-anchor": "middle", transform: `rotate(-90 13 ${y})` }, this.spec.y);
    }

    drawLine(inside, line) {
      let d = "";
      let points = 0;
      let drawing = false;
      for (let i = 0; i < line.xs.length; i++) {
        if (!known(line.xs[i]) || !known(line.ys[i])) {
          drawing = false;
          continue;
        }
        const spot = `${this.toX(line.xs[i]).toFixed(1)} ${this.toY(line.ys[i]).toFixed(1)}`;
        const alone = !drawing && !known(line.ys[i + 1]); // between two gaps: a short dash
        d += drawing ? `L${spot}` : `M${spot}${alone ? "m-2 0h4" : ""}`;
        drawing = true;
        points += 1;
        if (line.dots) {
          const dot = add(inside, "circle", { cx: this.toX(line.xs[i]), cy: this.toY(line.ys[i]), r: 3.5 });
          dot.style.fill = `var(--line-${line.colour % 8})`;
        }
      }
      const path = add(inside, "path", { d, class: "line", "data-line": line.label, "data-points": points });
      this.paint(path, line);
    }

    drawStart(inside) {
      const line = this.lines[0];
      const [x, y] = [this.toX(line.xs[0]), this.toY(line.ys[0])];
      add(inside, "circle", { cx: x, cy: y, r: 4.5, class: "start" });
      add(inside, "text", { x: x + 8, y: y + 4, class: "start" }, "start");
    }

    // Frames that were not tracked: ticks at the foot, or crosses on the path.
    drawLost(inside) {
      if (!this.spec.linked) return;
      const foot = this.height - MARGIN.bottom;
      let d = "";
      for (const [index, run] of this.group.lost) {
        const line = this.lines.findLast((each) => each.on && each.run === run);
        if (!line || !known(line.xs[index])) continue;
        const x = this.toX(line.xs[index]).toFixed(1);
        if (this.spec.equal) d += `M${x} ${this.toY(line.ys[index]).toFixed(1)}m-4-4l8 8m0-8l-8 8`;
        else d += `M${x} ${foot}v-9`;
      }
      if (d) add(inside, "path", { d, class: "lost", "data-lost": this.group.lost.length });
    }

    drawCursor() {
      if (!this.marks) return;
      this.marks.replaceChildren();
      const index = this.cursor.index;
      if (index === null) return;
      const within = (value, [low, high]) => known(value) && value >= low && value <= high;
      if (!this.spec.equal) {
        const x = this.lines[0].xs[index];
        if (within(x, this.rangeX)) {
          add(this.marks, "path", { d: `M${this.toX(x)} ${MARGIN.top}V${this.height - MARGIN.bottom}`, class: "cursor" });
        }
      }
      for (const line of this.lines) {
        if (!line.on || !within(line.xs[index], this.rangeX) || !within(line.ys[index], this.rangeY)) continue;
        const dot = add(this.marks, "circle", { cx: this.toX(line.xs[index]), cy: this.toY(line.ys[index]), r: 4.5, class: "dot" });
        dot.style.fill = line.colour === "truth" ? "var(--line-truth)" : `var(--line-${line.colour % 8})`;
      }
    }

    // ---- the frame under the pointer ----

    nearest(px, py) {
      let found = null;
      let least = Infinity;
      for (const line of this.lines) {
        if (!line.on) continue;
        for (let i = 0; i < line.xs.length; i++) {
          if (!known(line.xs[i])) continue;
          const dx = this.toX(line.xs[i]) - px;
          const dy = this.spec.equal ? this.toY(line.ys[i]) - py : 0;
          if (dx * dx + dy * dy < least) {
            least = dx * dx + dy * dy;
            found = i;
          }
        }
      }
      return this.spec.equal && least > NEAR_PX * NEAR_PX ? null : found;
    }

    point(index, px = null, py = null) {
      this.cursor.index = index;
      for (const chart of this.cursor.charts) chart.drawCursor();
      for (const chart of this.cursor.charts) if (chart !== this) chart.tip.hidden = true;
      if (index === null) {
        this.tip.hidden = true;
        return;
      }
      this.fillTip(index);
      const first = this.lines.find((line) => line.on && known(line.xs[index]) && known(line.ys[index]));
      const x = px ?? (first ? this.toX(first.xs[index]) : MARGIN.left);
      const y = py ?? (first ? this.toY(first.ys[index]) : MARGIN.top);
      this.tip.hidden = false;
      const { offsetWidth: w, offsetHeight: h } = this.tip;
      const left = x + 16 + w > this.width ? x - 16 - w : x + 16;
      this.tip.style.left = `${clamp(left, 0, Math.max(this.width - w, 0))}px`;
      this.tip.style.top = `${clamp(y - h - 10, 0, Math.max(this.height - h, 0))}px`;
    }

    fillTip(index) {
      const { arrays, lost } = this.group;
      this.tip.replaceChildren();
      const head = this.spec.linked
        ? `frame ${arrays.frame[index]}, ${arrays.time[index].toFixed(2)} s`
        : `${shown(this.lines[0].xs[index])} m`;
      addHtml(this.tip, "strong", "", head);
      for (const line of this.lines) {
        if (!line.on || line.colour === "truth") continue;
        const row = addHtml(this.tip, "div");
        const swatch = add(row, "svg", { width: 16, height: 8, "aria-hidden": "true" });
        this.paint(add(swatch, "path", { d: "M1 4H15", class: "line" }), line);
        const unit = line.unit && known(line.values[index]) ? ` ${line.unit}` : "";
        const value = this.spec.equal && !line.value
          ? `${shown(line.xs[index])}, ${shown(line.ys[index])} ${line.unit ?? ""}`
          : shown(line.values[index]) + unit;
        addHtml(row, "span", "", `${line.label}: ${value}`);
      }
      if (!this.spec.linked) return;
      for (const [at, run, reason] of lost) {
        if (at !== index) continue;
        const name = this.group.names[run];
        addHtml(this.tip, "div", "warning", `${name ? `${name} ` : ""}not tracked: ${reason}`);
      }
    }

    // ---- mouse, fingers, keys ----

    listen() {
      const fingers = new Map();
      let apart = 0;
      const place = (event) => {
        const box = this.svg.getBoundingClientRect();
        return [event.clientX - box.left, event.clientY - box.top];
      };
      const toData = ([px, py]) => {
        const { width, height } = this.inner;
        const x = this.rangeX[0] + ((px - MARGIN.left) / width) * (this.rangeX[1] - this.rangeX[0]);
        const y = this.rangeY[1] - ((py - MARGIN.top) / height) * (this.rangeY[1] - this.rangeY[0]);
        return [x, y];
      };
      const spread = () => {
        const [a, b] = [...fingers.values()];
        return Math.hypot(a[0] - b[0], a[1] - b[1]);
      };
      const middle = () => {
        const [a, b] = [...fingers.values()];
        return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
      };
      this.svg.addEventListener("pointerdown", (event) => {
        fingers.set(event.pointerId, place(event));
        if (fingers.size === 2) apart = spread();
        if (event.pointerType === "mouse") this.svg.setPointerCapture(event.pointerId);
        else this.point(this.nearest(...place(event)), ...place(event));
      });
      this.svg.addEventListener("pointermove", (event) => {
        const [px, py] = place(event);
        const before = fingers.get(event.pointerId);
        if (before) fingers.set(event.pointerId, [px, py]);
        if (fingers.size === 2) {
          const now = spread();
          if (now > 0 && apart > 0) this.zoom(apart / now, toData(middle()));
          apart = now;
        } else if (before && event.pointerType === "mouse") {
          this.plot.classList.add("dragged");
          this.pan(px - before[0], py - before[1]);
        } else {
          this.point(this.nearest(px, py), px, py);
        }
      });
      const release = (event) => {
        fingers.delete(event.pointerId);
        this.plot.classList.remove("dragged");
      };
      this.svg.addEventListener("pointerup", release);
      this.svg.addEventListener("pointercancel", release);
      this.svg.addEventListener("pointerleave", (event) => {
        if (event.pointerType === "mouse" && !fingers.size) this.point(null);
        if (event.pointerType !== "mouse") fingers.delete(event.pointerId);
      });
      this.svg.addEventListener("dblclick", () => this.reset());
      this.svg.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey) return; // the wheel alone scrolls the page
        event.preventDefault();
        this.zoom(1.0015 ** clamp(event.deltaY, -300, 300), toData(place(event)));
      }, { passive: false });
      this.plot.addEventListener("keydown", (event) => this.press(event));
      this.plot.addEventListener("blur", () => this.point(null));
    }

    press(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const last = this.lines[0].xs.length - 1;
      const at = this.cursor.index;
      const step = event.shiftKey ? 10 : 1;
      const acts = {
        ArrowRight: () => this.point(at === null ? 0 : Math.min(at + step, last)),
        ArrowLeft: () => this.point(at === null ? last : Math.max(at - step, 0)),
        Home: () => this.point(0),
        End: () => this.point(last),
        Escape: () => this.point(null),
        "+": () => this.zoom(0.6),
        "-": () => this.zoom(1 / 0.6),
        0: () => this.reset(),
      };
      if (!(event.key in acts)) return;
      event.preventDefault();
      acts[event.key]();
    }
  }

  const groups = JSON.parse(document.getElementById("numbers").textContent);
  groups.forEach((group, number) => {
    group.number = number;
    const shared = { charts: [], index: null };
    const parent = document.getElementById(`charts-${number}`);
    for (const spec of group.charts) {
      const place = parent.querySelector(`[data-chart="${spec.id}"]`)
        ?? parent.querySelector("[data-rest]");
      const cursor = spec.linked ? shared : { charts: [], index: null };
      cursor.charts.push(new Chart(place, spec, group, cursor));
    }
  });
})();
