(() => {
  const find = (id) => document.getElementById(id);
  const form = find("form");
  const LETTERS = ["A", "B"];
  const WAYS = {
    rating: {
      ask: "How good is the answer?",
      choices: [[1, "1", "useless"], [2, "2", ""], [3, "3", "partly right"], [4, "4", ""], [5, "5", "right"]],
      keys: { 1: 1, 2: 2, 3: 3, 4: 4, 5: 5 },
    },
    preference: {
      ask: "Which answer is better?",
      choices: [["left", "A is better", "key a or 1"], ["tie", "Equally good or bad", "key t or 2"], ["right", "B is better", "key b or 3"]],
      keys: { a: "left", 1: "left", t: "tie", 2: "tie", b: "right", 3: "right" },
    },
  };
  const token = location.hash.slice(1);
  let state = null;
  let question = null;
  let shownAt = 0;
  let referenceSeen = false;
  let busy = false;

  async function call(path, body) {
    const options = { headers: { "X-Review-Token": token }, cache: "no-store" };
    if (body !== undefined) {
      options.method = "POST";
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    let response;
    try {
      response = await fetch(path, options);
    } catch {
      throw new Error("The server does not answer; what is not saved is lost. Start t2c review again.");
    }
    const value = await response.json();
    if (!response.ok) throw new Error(`This was not saved or found: ${value.error}.`);
    return value;
  }

  // One request at a time: a second Enter while the first one is under way saves nothing twice.
  async function alone(work) {
    if (busy) return;
    busy = true;
    find("save").disabled = true;
    try {
      await work();
      find("problem").hidden = true;
    } catch (error) {
      find("problem").textContent = error.message;
      find("problem").hidden = false;
    }
    busy = false;
    find("save").disabled = value() === null;
  }

  const value = () => {
    const input = document.querySelector("input[name=choice]:checked");
    if (!input) return null;
    return question.mode === "rating" ? Number(input.value) : input.value;
  };

  function progress() {
    find("progress").textContent = `${state.reviewer}: ${state.rated} of ${state.total} rated`;
    find("bar").max = state.total;
    find("bar").value = state.rated;
  }

  async function show(number) {
    if (number === null) {
      form.hidden = true;
      find("done").hidden = false;
      find("again").focus();
      return;
    }
    question = await call(`/api/question?number=${number}`);
    find("done").hidden = true;
    form.hidden = false;
    find("title").textContent = `Question ${number + 1} of ${state.total}`;
    find("text").textContent = question.text;
    const way = WAYS[question.mode];
    find("ask").textContent = way.ask;
    find("choices").replaceChildren(find("ask"), ...way.choices.map(([chosen, title, meaning]) => {
      const label = made("label", `choice ${question.mode}`);
      const input = made("input");
      Object.assign(input, { type: "radio", name: "choice", value: chosen, checked: question.previous?.value === chosen });
      const name = made("span", "", title);
      name.append(made("small", "", meaning || "\u00a0"));
      label.append(input, name);
      return label;
    }));
    find("note").value = question.previous?.note ?? "";
    find("reference").open = false;
    find("reference").lastElementChild.replaceChildren(codeOf(...question.reference, []));
    find("previous").disabled = number === 0;
    find("following").disabled = number + 1 === state.total;
    find("marking").hidden = question.mode === "rating";
    referenceSeen = false;
    answers();
    chosen();
    shownAt = performance.now();
    find("title").focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  function answers() {
    const marks = find("mark").checked && question.answers.length === 2;
    find("answers").replaceChildren(...question.answers.map(([text, spans], place) => {
      const ranges = marks ? lacking(text, question.answers[1 - place][0]) : [];
      const pane = made("section");
      const name = question.answers.length === 2 ? `Answer ${LETTERS[place]}` : "Answer";
      const code = codeOf(text, spans, [{ name: "extra", ranges }]);
      code.setAttribute("aria-label", name);
      pane.append(made("h3", "", name), text ? code : made("p", "faint", "(empty)"));
      return pane;
    }));
    chosen();
  }

  function chosen() {
    const side = value();
    [...find("answers").children].forEach((pane, place) => {
      pane.classList.toggle("chosen", side === ["left", "right"][place]);
    });
    find("save").disabled = busy || side === null;
  }

  form.addEventListener("change", (event) => {
    if (event.target.name === "choice") chosen();
    if (event.target.id === "mark") answers();
  });
  find("reference").addEventListener("toggle", () => {
    if (find("reference").open) referenceSeen = true;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (value() === null) return;
    alone(async () => {
      state = await call("/api/rating", {
        id: question.id,
        value: value(),
        note: find("note").value,
        reference_seen: referenceSeen,
        seconds: (performance.now() - shownAt) / 1000,
      });
      progress();
      // After a look back, the next one in order; otherwise the first without a rating.
      const following = question.number + 1;
      await show(question.previous && following < state.total ? following : state.next);
    });
  });
  const step = (by) => {
    const target = question.number + by;
    if (!form.hidden && target >= 0 && target < state.total) alone(() => show(target));
  };
  find("previous").addEventListener("click", () => step(-1));
  find("following").addEventListener("click", () => step(1));
  find("again").addEventListener("click", () => alone(() => show(0)));
  document.addEventListener("keydown", (event) => {
    if (form.hidden || event.altKey || event.metaKey || (event.ctrlKey && event.key !== "Enter")) return;
    const typing = event.target.tagName === "TEXTAREA";
    if (typing && !(event.key === "Enter" && event.ctrlKey) && event.key !== "Escape") return;
    const keys = WAYS[question.mode].keys;
    if (event.key === "Escape") event.target.blur();
    else if (event.key === "Enter") {
      if (/^(BUTTON|SUMMARY)$/.test(event.target.tagName)) return;
      form.requestSubmit();
    } else if (event.key in keys) {
      const input = [...document.getElementsByName("choice")].find((one) => one.value === String(keys[event.key]));
      input.checked = true;
      input.focus({ preventScroll: true });
      chosen();
    } else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "r") find("reference").open = !find("reference").open;
    else if (event.key === "m") find("mark").click();
    else return;
    event.preventDefault();
  });
  alone(async () => {
    state = await call("/api/state");
    progress();
    await show(state.next);
  });
})();
