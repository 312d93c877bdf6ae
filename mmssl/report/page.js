"use strict";
// Names come from data sets and studies: they reach the page as text, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  function make(tag, attributes, text) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }
  function draw(tag, attributes, parent) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    if (parent) parent.appendChild(node);
    return node;
  }
  function table(node, head, rows) {
    const thead = make("thead"), tbody = make("tbody"), line = make("tr");
    for (const word of head) line.appendChild(make("th", { scope: "col" }, word));
    thead.appendChild(line);
    for (const row of rows) {
      const tr = make("tr");
      row.forEach((cell, i) => tr.appendChild(make(i ? "td" : "th", i ? {} : { scope: "row" }, cell)));
      tbody.appendChild(tr);
    }
    node.replaceChildren(thead, tbody);
  }
  const short = (value) => (value === null || value === undefined ? "-" : Number(value.toPrecision(4)).toString());

  // The expressions in the charts are interpreted, not compiled: the page's policy forbids eval.
  const options = { renderer: "svg", actions: false, ast: true, tooltip: { theme: "custom" }, hover: false };
  const drawn = [];
  function embed(node, spec, rows) {
    const full = rows ? { ...spec, datasets: { ...(spec.datasets || {}), rows } } : spec;
    return window.vegaEmbed(node, JSON.parse(JSON.stringify(full)), options).then((result) => {
      const svg = node.querySelector("svg");
      if (svg && spec.description) svg.setAttribute("aria-label", spec.description);
      name(node);
      if (spec.width === "container") drawn.push([node, result.view]);
      return result.view;
    });
  }
  // A layer that has no mark, as in a slice without a failure, is nothing to a screen reader.
  function name(node) {
    for (const group of node.querySelectorAll('g[role="graphics-symbol"]')) {
      if (group.childElementCount) group.removeAttribute("aria-hidden");
      else group.setAttribute("aria-hidden", "true");
    }
  }
  const put = (view, rows) => view.data("rows", rows).runAsync().then(() => name(view.container()));
  const waiting = [];
  const later = (promise) => waiting.push(promise);

  function map() {
    const node = at("map-chart");
    if (!node) return;
    const select = at("map-slice");
    const rows = () => data.map.rows.filter((row) => !select || row.slice === select.value);
    later(embed(node, data.map.spec, rows()).then((view) => {
      if (select) select.addEventListener("change", () => put(view, rows()));
    }));
  }

  function still() {
    for (const [id, spec] of Object.entries(data.still)) {
      if (at(id)) later(embed(at(id), spec));
    }
  }

  const MODALITIES = data.trials ? data.trials.modalities : [];
  const each = (measure) => MODALITIES.map((name) => [`train.${name}.${measure}`, name]);
  const PANELS = [
    ["loss", [["train.loss", ""]]],
    ["invariance term", [["train.invariance", ""]]],
    ["variance term", [["train.variance", ""]]],
    ["covariance term", [["train.covariance", ""]]],
    ["on the diagonal", [["train.on_diagonal", ""]]],
    ["off the diagonal", [["train.off_diagonal", ""]]],
    ["similarity of positives", [["train.positive", ""]]],
    ["similarity of negatives", [["train.negative", ""]]],
    ["embeddings: standard deviation", each("std")],
    ["embeddings: effective rank", each("effective_rank")],
    ["embeddings: covariance", each("covariance")],
    ["accuracy of a probe", [["probe.accuracy", ""]]],
    ["loss", [["train.finetune.loss", ""]]],
    ["accuracy on its training recordings", [["train.finetune.accuracy", ""]]],
  ];
  const GUIDES = MODALITIES.map((name) => [`guide.${name}`, `guide of ${name}`]);
  const PHASES = { ...Object.fromEntries(GUIDES), pretrain: "pre-training", finetune: "fine-tuning" };

  function trials() {
    const select = at("trial");
    if (!select) return;
    const beside = at("beside");
    const holder = at("curves");
    beside.appendChild(make("option", { value: "" }, "none"));
    for (const target of [select, beside]) {
      for (const [point, own] of Object.entries(data.trials.points)) {
        const group = make("optgroup", { label: point });
        for (const id of own) {
          const facts = data.trials.facts[id];
          group.appendChild(make("option", { value: id }, `${id.slice(0, 8)}: seed ${facts.seed}, held out ${facts.fold}, ${facts.status}`));
        }
        target.appendChild(group);
      }
    }
    select.value = data.trials.first;
    const views = new Map();
    async function show() {
      const first = select.value, second = beside.value;
      at("beside-key").hidden = !second;
      const facts = data.trials.facts[first];
      at("trial-words").textContent = `${facts.point}; ${facts.words}`;
      const wanted = [], rows = [];
      for (const phase of Object.keys(PHASES)) {
        for (const [title, columns] of PANELS) {
          const points = [];
          for (const [id, which] of [[first, "first"], [second, "second"]]) {
            const own = id && data.trials.curves[id] && data.trials.curves[id][phase];
            if (!own) continue;
            for (const [column, series] of columns) {
              const values = own.values[column];
              if (!values) continue;
              values.forEach((value, i) => {
                if (value !== null) points.push({ epoch: own.epochs[i], value, series, trial: which });
              });
              const known = values.filter((value) => value !== null);
              if (known.length) {
                rows.push([`${PHASES[phase]}: ${title}${series ? ` (${series})` : ""}`, id.slice(0, 8), short(known[0]),
                  short(Math.min(...known)), short(Math.max(...known)), short(known[known.length - 1])]);
              }
            }
          }
          if (points.length) wanted.push([`${PHASES[phase]}: ${title}`, points]);
        }
      }
      table(at("curve-table"), ["curve", "trial", "first", "least", "most", "last"], rows);
      for (const [title, one] of views) one.node.hidden = !wanted.some(([name]) => name === title);
      for (const [title, points] of wanted) {
        const known = views.get(title);
        if (known) {
          known.view.then((view) => put(view, points));
          continue;
        }
        const node = make("div", { class: "panel" });
        node.appendChild(make("h3", {}, title));
        const chart = make("div", { class: "chart" });
        node.appendChild(chart);
        holder.appendChild(node);
        const spec = { ...data.trials.spec, description: `${title} over epochs` };
        const view = embed(chart, spec, points);
        views.set(title, { node, view });
        later(view);
      }
      if (!wanted.length) at("trial-words").textContent += ". It has no epochs.";
    }
    select.addEventListener("change", show);
    beside.addEventListener("change", show);
    show();
  }

  function confusion() {
    const select = at("confusion-point");
    if (!select) return;
    const { classes, cells, spec } = data.confusion;
    function rows() {
      const matrix = classes.map(() => new Map());
      for (const [true_, predicted, count, percent] of cells[select.value]) matrix[true_].set(predicted, { count, percent });
      const found = [];
      matrix.forEach((row, i) => {
        const total = [...row.values()].reduce((sum, cell) => sum + cell.count, 0);
        if (!total) return;
        classes.forEach((name, j) => {
          const { count, percent } = row.get(j) || { count: 0, percent: "0" };
          found.push({ true: classes[i], predicted: name, count, share: count / total, percent, total });
        });
      });
      return found;
    }
    function tell(found) {
      const wrong = found.filter((row) => row.true !== row.predicted && row.count).sort((a, b) => b.share - a.share || b.count - a.count);
      const shown = wrong.slice(0, 10).map((row) => [row.true, row.predicted, `${row.percent} %`, `${row.count} of ${row.total}`]);
      table(at("confusion-table"), ["true class", "taken for", "share", "recordings x seeds"], shown);
      if (!shown.length) at("confusion-table").replaceChildren(make("caption", {}, "None is taken for another."));
    }
    const first = rows();
    tell(first);
    later(embed(at("confusion-chart"), spec, first).then((view) => {
      select.addEventListener("change", () => { const found = rows(); tell(found); put(view, found); });
    }));
  }

  function unpack(packed) {
    const text = atob(packed.data);
    const columns = text.length / 2 / packed.rows;
    const values = new Float32Array(text.length / 2);
    for (let i = 0; i < values.length; i += 1) {
      const column = packed.low.length > 1 ? i % columns : 0;
      const whole = text.charCodeAt(2 * i) + 256 * text.charCodeAt(2 * i + 1);
      values[i] = packed.low[column] + packed.step[column] * whole;
    }
    return { rows: packed.rows, columns, values };
  }

  function recordings() {
    const select = at("recording");
    if (!select) return;
    const { items, maps, player, specs } = data.recordings;
    const wrong = (item) => item.predicted !== null && item.predicted !== item.label;
    items.forEach((item, i) => {
      if (!item.motion) return;
      const guess = wrong(item) ? ` taken for ${item.predicted}` : "";
      select.appendChild(make("option", { value: i }, `${item.id}: ${item.label}${guess}`));
    });
    const show = player_(select, items, player);
    const viewSelect = at("tsne-view"), classSelect = at("tsne-class");
    let view = null;
    if (viewSelect) {
      const key = at("tsne-key");
      const shapes = { circle: "M8 2a6 6 0 1 0 .01 0Z", "triangle-up": "M8 2 14 13H2Z", square: "M3 3H13V13H3Z", diamond: "M8 1 14 8 8 15 2 8Z", cross: "M6 2H10V6H14V10H10V14H6V10H2V6H6Z", "triangle-down": "M2 3H14L8 14Z", "triangle-right": "M3 2 14 8 3 14Z" };
      const there = new Set(items.map((item) => item.label));
      data.confusion.classes.forEach((name, i) => {
        if (!there.has(name)) return;
        const chip = make("li");
        const svg = draw("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, chip);
        draw("path", { d: shapes[player.shapes[i % player.shapes.length]], style: `fill:${player.colours[i % player.colours.length]}` }, svg);
        chip.appendChild(document.createTextNode(name));
        key.appendChild(chip);
      });
      const open = async () => {
        const index = Number(viewSelect.value), one = maps[index];
        const rows = one.x.map((x, j) => {
          const i = one.recordings[j], item = items[i];
          return { i, x, y: one.y[j], id: item.id, subject: item.subject, label: item.label, predicted: item.predicted === null ? "unknown" : item.predicted,
            confidence: item.confidence, right: !wrong(item), modality: one.modalities[j] };
        });
        if (view) view.finalize();
        view = await embed(at("tsne-chart"), specs[one.spec], rows);
        view.signal("only", classSelect.value).signal("picked", Number(select.value)).run();
        view.addEventListener("click", (event, item) => {
          if (item && item.datum && item.datum.i !== undefined && items[item.datum.i].motion) {
            select.value = item.datum.i;
            select.dispatchEvent(new Event("change"));
          }
        });
      };
      viewSelect.addEventListener("change", open);
      classSelect.addEventListener("change", () => view && view.signal("only", classSelect.value).run());
      later(open());
    }
    select.addEventListener("change", () => {
      show();
      if (view) view.signal("picked", Number(select.value)).run();
    });
    show();
  }

  function player_(select, items, player) {
    const svg = at("body"), play = at("play"), time = at("time"), turn = at("turn"), traces = at("traces");
    const [across, up, depth] = player.axes, [right, top] = player.signs;
    if (depth === null) turn.closest(".turn").hidden = true;
    let skeleton = null, seconds = 3, moment = 0, last = null, lines = [], dots = [], cursors = [], frame = null;
    const J = player.joints, D = player.coordinates;

    function value(row, joint, axis) {
      const exact = moment * (skeleton.rows - 1), below = Math.floor(exact), above = Math.min(below + 1, skeleton.rows - 1);
      const place = joint * D + axis, a = skeleton.values[below * J * D + place], b = skeleton.values[above * J * D + place];
      return a + (exact - below) * (b - a);
    }
    function place(joint) {
      const angle = (Number(turn.value) * Math.PI) / 180;
      const c = frame.centre;
      let x = (value(0, joint, across) - c[across]) * right;
      if (depth !== null) x = x * Math.cos(angle) + (value(0, joint, depth) - c[depth]) * Math.sin(angle);
      return [200 + frame.scale * x, frame.base - frame.scale * (value(0, joint, up) - frame.low) * top];
    }
    function measure() {
      const low = Array(D).fill(Infinity), high = Array(D).fill(-Infinity);
      skeleton.values.forEach((v, i) => { const a = i % D; if (v < low[a]) low[a] = v; if (v > high[a]) high[a] = v; });
      const axes = depth === null ? [across] : [across, depth];
      const width = Math.hypot(...axes.map((a) => high[a] - low[a])), height = high[up] - low[up];
      const scale = Math.min(360 / Math.max(width, 1e-9), 300 / Math.max(height, 1e-9));
      frame = { centre: low.map((v, a) => (v + high[a]) / 2), low: top > 0 ? low[up] : high[up], scale, base: 170 + (height * scale) / 2 };
    }
    function paint() {
      if (skeleton) {
        const places = Array.from({ length: J }, (_, joint) => place(joint));
        player.bones.forEach(([a, b], i) => {
          lines[i].setAttribute("x1", places[a][0]); lines[i].setAttribute("y1", places[a][1]);
          lines[i].setAttribute("x2", places[b][0]); lines[i].setAttribute("y2", places[b][1]);
        });
        places.forEach(([x, y], i) => { dots[i].setAttribute("cx", x); dots[i].setAttribute("cy", y); });
      }
      for (const cursor of cursors) { cursor.setAttribute("x1", 1000 * moment); cursor.setAttribute("x2", 1000 * moment); }
      time.value = Math.round(1000 * moment);
      time.setAttribute("aria-valuetext", `${(moment * seconds).toFixed(2)} of ${seconds.toFixed(2)} seconds`);
    }
    function trace(group, signal) {
      const holder = make("div", { class: "trace" });
      holder.appendChild(make("h3", {}, group.title));
      let low = Infinity, high = -Infinity;
      for (let row = 0; row < signal.rows; row += 1) {
        for (const c of group.channels) { const v = signal.values[row * signal.columns + c]; if (v < low) low = v; if (v > high) high = v; }
      }
      const pad = 0.06 * (high - low || 1);
      const y = (v) => (100 * (high + pad - v)) / (high - low + 2 * pad);
      const chart = draw("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img" }, holder);
      draw("title", {}, chart).textContent = `${group.title}: from ${short(low)} to ${short(high)} ${group.unit}`;
      if (low < 0 && high > 0) draw("line", { class: "zero", x1: 0, x2: 1000, y1: y(0), y2: y(0) }, chart);
      const legend = make("p");
      group.channels.forEach((c, i) => {
        let path = "";
        for (let row = 0; row < signal.rows; row += 1) {
          path += `${row ? "L" : "M"}${((1000 * row) / Math.max(1, signal.rows - 1)).toFixed(1)} ${y(signal.values[row * signal.columns + c]).toFixed(1)}`;
        }
        const colour = ["var(--c1)", "var(--c4)", "var(--c3)"][i % 3], dash = ["", "7 3", "2 3"][i % 3];
        draw("path", { d: path, style: `stroke:${colour};stroke-dasharray:${dash || "none"}` }, chart);
        const name = make("span");
        name.appendChild(make("i", { class: "dash", style: `border-color:${colour};border-top-style:${["solid", "dashed", "dotted"][i % 3]}` }));
        name.appendChild(document.createTextNode(group.names[i]));
        legend.appendChild(name);
      });
      legend.appendChild(make("span", {}, `${short(low)} to ${short(high)} ${group.unit}`));
      cursors.push(draw("line", { x1: 0, x2: 0, y1: 0, y2: 100 }, chart));
      holder.appendChild(legend);
      traces.appendChild(holder);
    }
    function pause() { last = null; play.textContent = "Play"; play.setAttribute("aria-pressed", "false"); }
    function step(now) {
      if (last === null) return;
      // A frame may be older than the click that asked for it.
      moment += Math.max(0, now - last) / 1000 / seconds;
      if (moment > 1) moment %= 1;
      last = now;
      paint();
      requestAnimationFrame(step);
    }
    play.addEventListener("click", () => {
      if (last !== null) { pause(); return; }
      play.textContent = "Pause"; play.setAttribute("aria-pressed", "true");
      last = performance.now();
      requestAnimationFrame(step);
    });
    time.addEventListener("input", () => { pause(); moment = Number(time.value) / 1000; paint(); });
    turn.addEventListener("input", paint);

    return function show() {
      pause();
      const item = items[Number(select.value)];
      if (!item || !item.motion) return;
      moment = 0;
      seconds = item.motion.seconds || 3;
      const sure = item.confidence === null ? "" : ` with probability ${item.confidence.toFixed(2)}`;
      const guess = item.predicted === null ? "not predicted" : item.predicted === item.label ? `classified right${sure}` : `taken for ${item.predicted}${sure}`;
      at("recording-words").textContent = `${item.id}: ${item.label}, subject ${item.subject}; ${guess}. ` +
        (item.motion.seconds ? `${seconds.toFixed(1)} s.` : "Its rate is not known: shown in 3 s.");
      svg.replaceChildren(draw("title", { id: "body-title" }));
      svg.firstChild.textContent = `Skeleton of recording ${item.id}, ${item.label}`;
      traces.replaceChildren();
      cursors = [];
      skeleton = item.motion.body ? unpack(item.motion.body) : null;
      svg.style.display = skeleton ? "" : "none";
      if (skeleton) {
        measure();
        draw("line", { class: "floor", x1: 20, x2: 380, y1: frame.base + 2, y2: frame.base + 2 }, svg);
        lines = player.bones.map(() => draw("line", {}, svg));
        dots = Array.from({ length: J }, () => draw("circle", { r: 5 }, svg));
      }
      for (const [name, packed] of Object.entries(item.motion.signals)) {
        const signal = unpack(packed);
        for (const group of player.groups[name]) trace(group, signal);
      }
      paint();
    };
  }

  // A print shows what is folded away on the screen, and charts drawn for the width of paper, or their letters would
  // shrink with them.
  const PAPER = 690, opened = [];
  window.addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details:not([open])")) { one.open = true; opened.push(one); }
    for (const [node, view] of drawn) {
      if (node.isConnected) view.width(node.closest(".panels") ? PAPER / 3 - 20 : node.closest(".split") ? PAPER * 0.55 : PAPER).run();
    }
  });
  window.addEventListener("afterprint", () => {
    for (const one of opened.splice(0)) one.open = false;
    window.dispatchEvent(new Event("resize"));
  });

  for (const part of [map, still, trials, confusion, recordings]) part();
  Promise.all(waiting).then(() => { document.documentElement.dataset.ready = "yes"; });
})();
