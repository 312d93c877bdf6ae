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
  // A name is broken nowhere, a sentence between its words.
  const one_word = (text) => (/\s/.test(text) ? {} : { class: "whole" });
  function table(node, head, rows) {
    const thead = make("thead"), tbody = make("tbody"), line = make("tr");
    for (const word of head) line.appendChild(make("th", { scope: "col" }, word));
    thead.appendChild(line);
    for (const row of rows) {
      const tr = make("tr");
      row.forEach((cell, i) => tr.appendChild(make(i ? "td" : "th", i ? (/^[-+\d]/.test(cell) ? { class: "n" } : one_word(cell)) : { scope: "row", ...one_word(cell) }, cell)));
      tbody.appendChild(tr);
    }
    node.replaceChildren(thead, tbody);
  }
  const short = (value) => (value === null || value === undefined ? "-" : Number(value.toPrecision(4)).toString());

  // The expressions in the charts are interpreted, not compiled: the page's policy forbids eval.
  // A tooltip stands beside what it explains.
  const tooltip = { theme: "custom", anchor: "mark", position: ["right", "left", "top", "bottom"], offsetX: 8, offsetY: 8 };
  const options = { renderer: "svg", actions: false, ast: true, tooltip, hover: false };
  const drawn = new Map();
  function embed(node, spec, rows) {
    const full = rows ? { ...spec, datasets: { ...(spec.datasets || {}), rows } } : spec;
    return window.vegaEmbed(node, JSON.parse(JSON.stringify(full)), options).then((result) => {
      const svg = node.querySelector("svg");
      if (svg && spec.description) svg.setAttribute("aria-label", spec.description);
      name(node);
      if (spec.width === "container") drawn.set(node, result.view);
      if (!reaching.has(node)) reach_out(node);
      return result.view;
    });
  }
  // Where no mark that says something is under the pointer, the nearest within reach answers, to a click too: Vega is
  // sent the pointer's event as if it were on that mark.
  const REACH = 80, reaching = new Set();
  function reach_out(node) {
    reaching.add(node);
    let hovered = null;
    const item = (path) => [].concat(path.__data__ || [])[0];
    const says = (path) => { const one = item(path); return one && one.tooltip !== undefined && one.tooltip !== null; };
    const send = (type, path, event) => path.dispatchEvent(new PointerEvent(type, { clientX: event.clientX, clientY: event.clientY, bubbles: true }));
    const apart = (box, x, y) => Math.hypot(Math.max(box.left - x, 0, x - box.right), Math.max(box.top - y, 0, y - box.bottom));
    function nearest(event) {
      const plot = node.querySelector(".background"), x = event.clientX, y = event.clientY;
      if (!plot || apart(plot.getBoundingClientRect(), x, y) > 0) return null;
      let found = null, least = REACH;
      for (const path of node.querySelectorAll("path, line")) {
        const distance = says(path) ? apart(path.getBoundingClientRect(), x, y) : Infinity;
        if (distance < least) { found = path; least = distance; }
      }
      return found;
    }
    // Vega shows by pointermove and hides by mouseout, which comes before mousemove.
    node.addEventListener("mousemove", (event) => {
      const on = says(event.target) ? null : nearest(event);
      if (hovered && hovered !== on) send("mouseout", hovered, event);
      hovered = on;
      node.style.cursor = (on && item(on).cursor) || "";
      if (on) send("pointermove", on, event);
    });
    node.addEventListener("mouseleave", (event) => { if (hovered) send("mouseout", hovered, event); hovered = null; });
    node.addEventListener("click", (event) => {
      if (!event.isTrusted || says(event.target)) return;
      const on = nearest(event);
      if (on && item(on).cursor === "pointer") send("click", on, event);
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

  // One point is looked into, in every part that can.
  let picked = data.points.first;
  const followers = [];
  function pick(id) {
    if (id === picked || !data.points.all[id]) return;
    picked = id;
    for (const one of followers) one(id);
  }
  function follow(one) {
    followers.push(one);
    one(picked);
  }

  // Marks are reached by one press of Tab, gone through by arrows and chosen by Enter. Vega keeps its item on each node.
  function marks(node, key) {
    const found = new Map();
    for (const path of node.querySelectorAll("path")) {
      const datum = path.__data__ && path.__data__.datum;
      if (datum && datum[key] !== undefined && !found.has(datum[key])) found.set(datum[key], path);
    }
    return found;
  }
  function reach(node, key, current) {
    const all = marks(node, key);
    for (const path of all.values()) {
      path.setAttribute("tabindex", "-1");
      path.setAttribute("role", "button");
      path.removeAttribute("aria-roledescription");
    }
    const first = all.get(current) || all.values().next().value;
    if (first) first.setAttribute("tabindex", "0");
  }
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function by_keys(node, key, act) {
    node.addEventListener("keydown", (event) => {
      const all = [...marks(node, key).values()], from = event.target;
      if (!all.includes(from)) return;
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        act(from.__data__.datum[key]);
      }
      if (!STEPS[event.key]) return;
      event.preventDefault();
      const [right, down] = STEPS[event.key];
      const centre = (path) => { const box = path.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; };
      const [x, y] = centre(from);
      let to = null, nearest = Infinity;
      for (const one of all) {
        const [a, b] = centre(one), along = (a - x) * right + (b - y) * down, aside = Math.abs((a - x) * down) + Math.abs((b - y) * right);
        if (along > 1 && along + 3 * aside < nearest) { to = one; nearest = along + 3 * aside; }
      }
      if (!to) return;
      from.setAttribute("tabindex", "-1");
      to.setAttribute("tabindex", "0");
      to.focus();
    });
  }

  // A chart whose marks are points: the map, the ranking, the differences.
  function of_points(id, spec, all, select) {
    const node = at(id);
    if (!node || !spec) return;
    const rows = () => all && all.filter((row) => !select || row.slice === select.value);
    later(embed(node, spec, rows()).then((view) => {
      const slice = () => put(view, rows()).then(() => reach(node, "id", picked));
      view.addEventListener("click", (event, item) => item && item.datum && pick(item.datum.id));
      by_keys(node, "id", pick);
      if (select) select.addEventListener("change", slice);
      follow((id) => {
        const row = select && all.find((one) => one.id === id);
        if (row && row.slice !== select.value) { select.value = row.slice; view.data("rows", rows()); }
        view.signal("picked", id).runAsync().then(() => { name(node); reach(node, "id", id); });
      });
    }));
  }

  function points() {
    const select = at("point");
    if (!select) return;
    if (data.map) of_points("map-chart", data.map.spec, data.map.rows, at("map-slice"));
    if (data.against) of_points("against-chart", data.against.spec, data.against.rows, at("against-slice"));
    of_points("ranking-chart", data.still["ranking-chart"]);
    select.addEventListener("change", () => pick(select.value));
    for (const button of document.querySelectorAll("[data-pick]")) button.addEventListener("click", () => pick(button.dataset.pick));
    follow((id) => {
      select.value = id;
      at("point-words").textContent = `${data.points.all[id].label}: ${data.points.all[id].words}.`;
      for (const row of document.querySelectorAll("tr[data-point]")) {
        const here = row.dataset.point === id, box = row.closest(".tall");
        if (here) row.setAttribute("aria-current", "true");
        else row.removeAttribute("aria-current");
        if (here && (row.offsetTop < box.scrollTop + 40 || row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight)) box.scrollTop = row.offsetTop - 60;
      }
    });
  }

  function still() {
    for (const [id, spec] of Object.entries(data.still)) {
      if (at(id) && id !== "ranking-chart") later(embed(at(id), spec));
    }
    const timeline = data.still["timeline-chart"];
    if (!timeline) return;
    const rows = timeline.datasets.timeline.filter((row) => row.class !== undefined);
    table(at("timeline-table"), ["stream", "what", "from (s)", "to (s)", "class", "probability"],
      rows.map((row) => [row.stream, row.what, row.start.toFixed(2), row.end.toFixed(2), row.class, row.probability === null ? "" : row.probability.toFixed(2)]));
  }

  function labels() {
    const select = at("labels-reading");
    if (!select) return;
    const show = () => embed(at("labels-chart"), data.labels[select.value]);
    select.addEventListener("change", show);
    later(show());
  }

  // By its head a table is put in order, by a second press the other way.
  function sortable() {
    for (const node of document.querySelectorAll("table.sortable")) {
      const heads = [...node.tHead.rows[0].cells], body = node.tBodies[0];
      heads.forEach((head, i) => {
        const button = make("button", { type: "button", class: "sort" }, head.textContent);
        head.replaceChildren(button);
        button.addEventListener("click", () => {
          const way = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
          for (const one of heads) one.removeAttribute("aria-sort");
          head.setAttribute("aria-sort", way);
          const value = (row) => row.cells[i].dataset.value ?? row.cells[i].textContent;
          const sign = way === "ascending" ? 1 : -1;
          // What has no value stands last, whichever way.
          const order = (a, b) => (value(a) === "") - (value(b) === "") || sign * value(a).localeCompare(value(b), undefined, { numeric: true });
          const numbers = (a, b) => (value(a) === "") - (value(b) === "") || sign * (value(a) - value(b));
          const all = [...body.rows];
          body.replaceChildren(...all.sort(all.every((row) => value(row) === "" || Number.isFinite(Number(value(row)))) ? numbers : order));
        });
      });
    }
  }

  async function copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", { "aria-hidden": "true" }, text);
      document.body.appendChild(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    at("copied").textContent = `copied: ${what}`;
  }
  function copies() {
    const button = (words, text, what) => {
      const node = make("button", { type: "button", class: "copy" }, words);
      node.addEventListener("click", () => copy(text(), what).then(() => {
        node.dataset.done = "yes";
        setTimeout(() => delete node.dataset.done, 1500);
      }));
      return node;
    };
    for (const pre of document.querySelectorAll("pre")) pre.before(button("Copy command", () => pre.textContent, "the command"));
    for (const code of document.querySelectorAll("code[data-copy]")) {
      const id = code.dataset.copy, node = button(code.textContent, () => id, id);
      node.classList.add("id", ...code.classList);
      node.title = `Copy ${id}`;
      code.replaceWith(node);
    }
    for (const wide of document.querySelectorAll(".wide")) {
      const one = wide.querySelector("table");
      const cells = () => [...one.rows].map((row) => [...row.cells].map((cell) => cell.innerText.replace(/\s+/g, " ").trim()).join("\t")).join("\n");
      if (one) wide.before(button("Copy table", cells, "the table"));
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
    ["accuracy of a probe (%)", [["probe.accuracy", ""]]],
    ["loss", [["train.finetune.loss", ""]]],
    ["accuracy on its training recordings (%)", [["train.finetune.accuracy", ""]]],
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
              let values = own.values[column];
              if (!values) continue;
              if (column.endsWith("accuracy")) values = values.map((value) => value === null ? null : 100 * value);
              values.forEach((value, i) => {
                if (value !== null) points.push({ epoch: own.epochs[i], value, series, trial: which });
              });
              const present = values.filter((value) => value !== null);
              if (present.length) {
                rows.push([`${PHASES[phase]}: ${title}${series ? ` (${series})` : ""}`, id.slice(0, 8), short(present[0]),
                  short(Math.min(...present)), short(Math.max(...present)), short(present[present.length - 1])]);
              }
            }
          }
          if (points.length) wanted.push([`${PHASES[phase]}: ${title}`, points]);
        }
      }
      table(at("curve-table"), ["curve", "trial", "first", "least", "most", "last"], rows);
      for (const [title, one] of views) one.node.hidden = !wanted.some(([name]) => name === title);
      for (const [title, points] of wanted) {
        const existing = views.get(title);
        if (existing) {
          existing.view.then((view) => put(view, points));
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
    follow((id) => {
      const trial = data.points.all[id].trial;
      if (!trial || trial === select.value) return;
      select.value = trial;
      show();
    });
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
    function tabulate(found) {
      const wrong = found.filter((row) => row.true !== row.predicted && row.count).sort((a, b) => b.share - a.share || b.count - a.count);
      const shown = wrong.slice(0, 10).map((row) => [row.true, row.predicted, `${row.percent} %`, `${row.count} of ${row.total}`]);
      table(at("confusion-table"), ["true class", "taken for", "share", "recordings x seeds"], shown);
      if (!shown.length) at("confusion-table").replaceChildren(make("caption", {}, "None is taken for another."));
      const present = [...new Set(found.map((row) => row.true))];
      const line = (name) => found.filter((row) => row.true === name);
      table(at("confusion-cells"), ["true class", ...classes, "recordings x seeds"], present.map((name) => [name, ...line(name).map((row) => row.percent), `${line(name)[0].total}`]));
    }
    const first = rows();
    tabulate(first);
    later(embed(at("confusion-chart"), spec, first).then((view) => {
      const show = () => { const found = rows(); tabulate(found); return put(view, found); };
      select.addEventListener("change", show);
      follow((id) => {
        if (!cells[id] || select.value === id) return;
        select.value = id;
        show();
      });
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
    const { items, maps, places, unplaced, player, specs, guesses, shown } = data.recordings;
    const second = at("second");
    const wrong = (item) => item.predicted !== null && item.predicted !== item.label;
    items.forEach((item, i) => {
      if (!item.motion) return;
      for (const one of [select, second]) one.appendChild(make("option", { value: i }));
    });
    const show = player_(select, second, items, player);
    const classes = data.confusion.classes;
    // The predicted class and the place of a recording are the picked point's; its motion is its own.
    let placing = shown;
    function assign(id) {
      const own = guesses[id];
      if (own) items.forEach((item, i) => { [item.predicted, item.confidence] = own[i] ? [classes[own[i][0]], own[i][1]] : [null, null]; });
      const label = data.points.all[id].label;
      const before = data.points.all[shown].label, same = `by ${label}, by its trial of the same seed and fold`;
      if (own) placing = places[id] ? id : shown;
      at("guess-words").textContent = id === shown ? "" : !own
        ? `${label} has no complete trial of the same seed and fold: what was predicted and the places are still by the point before.`
        : placing === id ? `What was predicted and the places are ${same}; the motions are the recordings' own, whatever the point.`
        : `What was predicted is ${same}. The places are still by ${before}: by ${label} there are none, as ${unplaced[id]}. The motions are the recordings' own, whatever the point.`;
      for (const one of [select, second]) for (const option of one.options) {
        const item = items[option.value];
        if (item && option.value !== "") option.textContent = `${item.id}: ${item.label}${wrong(item) ? ` taken for ${item.predicted}` : ""}`;
      }
    }
    const viewSelect = at("tsne-view"), classSelect = at("tsne-class");
    let view = null;
    if (viewSelect) {
      const key = at("tsne-key");
      const shapes = { circle: "M8 2a6 6 0 1 0 .01 0Z", "triangle-up": "M8 2 14 13H2Z", square: "M3 3H13V13H3Z", diamond: "M8 1 14 8 8 15 2 8Z", cross: "M6 2H10V6H14V10H10V14H6V10H2V6H6Z", "triangle-down": "M2 3H14L8 14Z", "triangle-right": "M3 2 14 8 3 14Z" };
      const there = new Set(items.map((item) => item.label));
      classes.forEach((name, i) => {
        if (!there.has(name)) return;
        const chip = make("li");
        const svg = draw("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, chip);
        draw("path", { d: shapes[player.shapes[i % player.shapes.length]], style: `fill:${player.colours[i % player.colours.length]}` }, svg);
        chip.appendChild(document.createTextNode(name));
        key.appendChild(chip);
      });
      const predicted_class = (item) => item.predicted === null ? "unknown" : item.predicted;
      const found = () => {
        const one = maps[Number(viewSelect.value)], [across, up] = places[placing][Number(viewSelect.value)];
        return one.recordings.map((i, j) => {
          const item = items[i];
          return { i, x: across[j], y: up[j], id: item.id, subject: item.subject, label: item.label, predicted: predicted_class(item),
            confidence: item.confidence, right: !wrong(item), modality: one.modalities[j] };
        });
      };
      const list = at("tsne-table"), folded = list.closest("details");
      const in_numbers = (rows) => folded.open && table(list, ["recording", "class", "predicted", "probability", "x", "y"],
        rows.map((row) => [row.id, row.label, row.predicted, row.confidence === null ? "" : row.confidence.toFixed(2), short(row.x), short(row.y)]));
      folded.addEventListener("toggle", () => in_numbers(found()));
      const play = (i) => {
        if (!items[i] || !items[i].motion) return;
        select.value = i;
        select.dispatchEvent(new Event("change"));
      };
      by_keys(at("tsne-chart"), "i", play);
      const open = async () => {
        if (view) view.finalize();
        const rows = found();
        in_numbers(rows);
        view = await embed(at("tsne-chart"), specs[maps[Number(viewSelect.value)].spec], rows);
        view.signal("only", classSelect.value).signal("picked", Number(select.value)).run();
        view.addEventListener("click", (event, item) => item && item.datum && play(item.datum.i));
        reach(at("tsne-chart"), "i", Number(select.value));
      };
      viewSelect.addEventListener("change", open);
      classSelect.addEventListener("change", () => view && view.signal("only", classSelect.value).run());
      later(open());
      followers.push(() => { const rows = found(); in_numbers(rows); if (view) put(view, rows).then(() => reach(at("tsne-chart"), "i", Number(select.value))); });
    }
    select.addEventListener("change", () => {
      show();
      if (view) view.signal("picked", Number(select.value)).run();
    });
    second.addEventListener("change", show);
    followers.unshift((id) => { assign(id); show(); });
    assign(picked);
    show();
  }

  // One recording: its skeleton and its signals at a moment.
  function stage(svg, traces, words, player, turn) {
    const [across, up, depth] = player.axes, [right, top] = player.signs;
    let skeleton = null, moment = 0, lines = [], dots = [], cursors = [], frame = null;
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
    const one = { seconds: 3, frame: 1 };
    one.at = (seconds) => { moment = Math.min(1, seconds / one.seconds); paint(); };
    one.load = (item) => {
      one.seconds = item.motion.seconds || 3;
      const sure = item.confidence === null ? "" : ` with probability ${item.confidence.toFixed(2)}`;
      const guess = item.predicted === null ? "not predicted" : item.predicted === item.label ? `classified right${sure}` : `taken for ${item.predicted}${sure}`;
      words.textContent = `${item.id}: ${item.label}, subject ${item.subject}; ${guess}. ` +
        (item.motion.seconds ? `${one.seconds.toFixed(1)} s.` : "Its rate is not known: shown in 3 s.");
      svg.replaceChildren(draw("title", { id: svg.getAttribute("aria-labelledby") }));
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
        one.frame = one.seconds / Math.max(1, skeleton.rows - 1);
      }
      for (const [name, packed] of Object.entries(item.motion.signals)) {
        const signal = unpack(packed);
        for (const group of player.groups[name]) trace(group, signal);
      }
    };
    return one;
  }

  function player_(select, second, items, player) {
    const play = at("play"), time = at("time"), turn = at("turn"), speed = at("speed");
    if (player.axes[2] === null) for (const node of document.querySelectorAll(".turn")) node.hidden = true;
    const first = stage(at("body"), at("traces"), at("recording-words"), player, turn);
    const other = stage(at("second-body"), at("second-traces"), at("second-words"), player, turn);
    let both = [first], seconds = 3, moment = 0, last = null;

    function paint() {
      for (const one of both) one.at(moment);
      time.value = Math.round((1000 * moment) / seconds);
      time.setAttribute("aria-valuetext", `${moment.toFixed(2)} of ${seconds.toFixed(2)} seconds`);
    }
    function pause() { last = null; play.textContent = "Play"; play.setAttribute("aria-pressed", "false"); }
    function go(to) { pause(); moment = Math.max(0, Math.min(seconds, to)); paint(); }
    function step(now) {
      if (last === null) return;
      // A frame may be older than the click that requested it.
      moment += (Math.max(0, now - last) / 1000) * Number(speed.value);
      if (moment > seconds) moment %= seconds;
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
    at("back").addEventListener("click", () => go(moment - first.frame));
    at("on").addEventListener("click", () => go(moment + first.frame));
    time.addEventListener("input", () => go((Number(time.value) / 1000) * seconds));
    turn.addEventListener("input", paint);
    for (const svg of player.axes[2] === null ? [] : [at("body"), at("second-body")]) {
      let from = null;
      svg.classList.add("turns");
      svg.addEventListener("pointerdown", (event) => { from = [event.clientX, Number(turn.value)]; svg.setPointerCapture(event.pointerId); });
      svg.addEventListener("pointerup", () => { from = null; });
      svg.addEventListener("pointercancel", () => { from = null; });
      svg.addEventListener("pointermove", (event) => {
        if (!from) return;
        turn.value = ((((from[1] + (event.clientX - from[0]) / 2 + 180) % 360) + 360) % 360) - 180;
        paint();
      });
    }

    return function show() {
      pause();
      both = [];
      for (const [one, choice] of [[first, select], [other, second]]) {
        const item = choice.value === "" ? null : items[Number(choice.value)];
        if (!item || !item.motion) continue;
        one.load(item);
        both.push(one);
      }
      for (const id of ["second-body", "second-traces"]) (id === "second-body" ? at(id).parentNode : at(id)).hidden = !both.includes(other);
      seconds = Math.max(...both.map((one) => one.seconds));
      moment = 0;
      if (both.length) paint();
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

  for (const part of [points, still, labels, trials, confusion, recordings, sortable, copies]) part();
  Promise.all(waiting).then(() => { document.documentElement.dataset.ready = "yes"; });
})();
