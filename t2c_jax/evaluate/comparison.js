(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const list = find("list");
  const BATCH = 40;
  let chosen = []; // indices of the examples that pass the filters
  let shown = 0;

  const run = () => Number(find("run").value);
  const metric = () => find("metric").value;
  const outcome = () => document.querySelector("input[name=outcome]:checked").value;
  const gainOf = (index) => data.gains[metric()][run()][index];
  const outcomeOf = (gain) => (gain === null ? "none" : gain > 0 ? "won" : gain < 0 ? "lost" : "tied");
  const number = (value) => (value === null ? "-" : value.toFixed(1));

  const haystacks = new Map();
  function haystack(index) {
    if (!haystacks.has(index)) {
      const example = data.examples[index];
      const texts = [example.id, example.text, example.code[0], ...example.answers.map(([text]) => text), example.source];
      haystacks.set(index, texts.join("\n").toLowerCase());
    }
    return haystacks.get(index);
  }

  function filter() {
    const wanted = { kind: find("kind").value, language: find("language").value };
    const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const counts = { all: 0, won: 0, lost: 0, tied: 0, none: 0 };
    const side = outcome();
    chosen = [];
    data.examples.forEach((example, index) => {
      if (wanted.kind !== "*" && example.kind !== wanted.kind) return;
      if (wanted.language !== "*" && example.language !== wanted.language) return;
      if (words.length && !words.every((word) => haystack(index).includes(word))) return;
      const which = outcomeOf(gainOf(index));
      counts.all++;
      counts[which]++;
      if (side === "all" || side === which) chosen.push(index);
    });
    if (find("order").value === "difference") {
      const size = new Map(chosen.map((index) => [index, Math.abs(gainOf(index) ?? 0)]));
      chosen.sort((one, two) => size.get(two) - size.get(one) || one - two);
    }
    for (const element of document.querySelectorAll("[data-count]")) {
      element.textContent = counts[element.dataset.count].toLocaleString("en");
    }
    const total = data.examples.length.toLocaleString("en");
    find("count").textContent = `${chosen.length.toLocaleString("en")} of ${total} pairs`;
    list.replaceChildren();
    shown = 0;
    more();
    watch();
  }

  function more() {
    const next = chosen.slice(shown, shown + BATCH);
    shown += next.length;
    list.append(...next.map(row));
  }

  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting) || shown >= chosen.length) return;
    more();
    watch();
  }, { rootMargin: "600px" });

  // An observer reports changes only, and a tall window may still show the end after a batch.
  function watch() {
    observer.unobserve(find("end"));
    observer.observe(find("end"));
  }

  function row(index) {
    const example = data.examples[index];
    const details = made("details");
    details.dataset.index = index;
    const summary = made("summary");
    const which = outcomeOf(gainOf(index));
    const [theirs, ours] = [0, run() + 1].map((place) => data.scores[metric()][place][index]);
    const first = example.text.trim().split("\n")[0];
    summary.append(
      made("span", `badge ${which}`, which === "none" ? "-" : which),
      made("span", "line", first),
      made("span", "score", `${number(theirs)} → ${number(ours)}`),
      made("span", "faint", [example.kind, example.language, example.source].filter(Boolean).join(" · ")),
    );
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(body(example, index));
    });
    return details;
  }

  function body(example, index) {
    const [theirs, ours] = [example.answers[0], example.answers[run() + 1]];
    const how = find("mark").value;
    const marks = { theirs: [], ours: [], code: [] };
    if (how === "reference") {
      marks.theirs.push({ name: "extra", ranges: lacking(theirs[0], example.code[0]) });
      marks.ours.push({ name: "extra", ranges: lacking(ours[0], example.code[0]) });
      marks.code.push({ name: "lacks-1", ranges: lacking(example.code[0], theirs[0]) });
      marks.code.push({ name: "lacks-2", ranges: lacking(example.code[0], ours[0]) });
    } else if (how === "answers") {
      marks.theirs.push({ name: "extra", ranges: lacking(theirs[0], ours[0]) });
      marks.ours.push({ name: "extra", ranges: lacking(ours[0], theirs[0]) });
    }
    const block = made("div");
    const text = made("pre", "text", example.text);
    text.tabIndex = 0;
    const codes = made("div", "codes");
    const panes = [
      [data.runs[0], theirs, marks.theirs, 0],
      [data.runs[run() + 1], ours, marks.ours, run() + 1],
      ["Reference", example.code, marks.code, -1],
    ];
    for (const [name, [code, spans], ranges, place] of panes) {
      const pane = made("div");
      const title = made("h3", "", `${name} `);
      if (place >= 0) {
        const score = data.scores[metric()][place][index];
        title.append(made("span", "", `${find("metric").selectedOptions[0].text} ${number(score)}`));
      }
      const pre = codeOf(code, spans, ranges);
      pre.setAttribute("aria-label", name);
      pane.append(title, code ? pre : made("p", "faint", "(empty)"));
      codes.append(pane);
    }
    block.append(made("h3", "", "Text"), text, codes);
    if (how === "reference") {
      const key = made("p", "faint key");
      const entries = [
        ["mark", "extra", "not in the reference"],
        ["span", "lacks-1", `only ${data.runs[0]} lacks it`],
        ["span", "lacks-2", `only ${data.runs[run() + 1]} lacks it`],
        ["span", "lacks-3", "both lack it"],
      ];
      for (const [tag, name, meaning] of entries) {
        const entry = made("span");
        entry.append(made(tag, name, meaning));
        key.append(entry);
      }
      block.append(key);
    }
    return block;
  }

  function view() {
    for (const element of document.querySelectorAll(".view")) {
      element.hidden = Number(element.dataset.run) !== run() || element.dataset.metric !== metric();
    }
    filter();
  }

  function move(step) {
    const rows = [...list.children];
    const current = rows.indexOf(document.activeElement.closest?.("#list > details"));
    const target = current < 0 ? (step > 0 ? 0 : -1) : current + step;
    if (target >= rows.length && shown < chosen.length) more();
    const row = list.children[target];
    if (!row) return;
    row.firstElementChild.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest", behavior: "instant" });
  }

  for (const id of ["run", "metric"]) find(id).addEventListener("change", view);
  for (const id of ["kind", "language", "order", "mark"]) find(id).addEventListener("change", filter);
  for (const input of document.querySelectorAll("input[name=outcome]")) input.addEventListener("change", filter);
  let waiting = 0;
  find("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(input|select|textarea)$/i.test(event.target.tagName) && event.target.type !== "radio") {
      if (event.key === "Escape" && event.target.id === "search") event.target.blur();
      return;
    }
    if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "/") find("search").focus();
    else return;
    event.preventDefault();
  });
  view();
})();
