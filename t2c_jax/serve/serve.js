(() => {
  const find = (id) => document.getElementById(id);
  const answers = new Map();
  let aborter = null;

  const headers = () => {
    const key = find("key").value.trim();
    return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  };

  function problem(message) {
    find("problem").textContent = message;
    find("problem").hidden = !message;
  }

  async function refused(response) {
    let message = `The server answered with status ${response.status}.`;
    try {
      message = (await response.json()).error.message;
    } catch { /* no JSON: the status has to do */ }
    return new Error(message);
  }

  async function loadModels() {
    try {
      const response = await fetch("/v1/models", { headers: headers(), cache: "no-store" });
      if (!response.ok) throw await refused(response);
      const { data } = await response.json();
      find("model").replaceChildren(...data.map(({ id }) => new Option(id, id)));
      problem("");
    } catch (error) {
      problem(error.message);
    }
  }

  // An answer's place on the page: its text grows, and gets its colours and figures at the end.
  function placeOf(index) {
    if (answers.has(index)) return answers.get(index);
    const article = document.createElement("article");
    const head = made("div", "head", "");
    const figures = made("span", "faint", "");
    const copy = made("button", "", "Copy");
    copy.type = "button";
    head.append(made("h2", "", `Answer ${index + 1}`), figures, copy);
    const body = document.createElement("div");
    article.append(head, body);
    const place = { article, figures, body, text: "" };
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(place.text);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(body);
        copy.textContent = "Selected";
      }
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
    answers.set(index, place);
    find("answers").append(article);
    return place;
  }

  function figuresOf(choice) {
    const percent = (share) => `${Math.round(100 * share)} %`;
    const found = [];
    if (choice.confidence !== undefined) found.push(`confidence ${percent(choice.confidence)}`);
    found.push(`log-probability ${choice.log_probability.toFixed(2)}`);
    const { prompt, neighbours } = choice.provenance;
    if (prompt) found.push(`${percent(prompt)} of the prompt`);
    if (neighbours) found.push(`${percent(neighbours)} retrieved`);
    if (choice.finish_reason === "length") found.push("cut");
    return found.join(" · ");
  }

  function show(choice) {
    const place = placeOf(choice.index);
    place.text += choice.text;
    const isDone = choice.finish_reason !== null;
    place.body.replaceChildren(codeOf(place.text, isDone ? choice.spans : "", []));
    if (!isDone) return;
    place.figures.textContent = figuresOf(choice);
    if (choice.neighbours && choice.index === 0) showNeighbours(choice.neighbours);
  }

  // Where a training pair is from, with a link to its lines where their address is known.
  function originOf(place, url) {
    const line = made("p", "faint origin", "");
    if (url?.startsWith("https://")) {
      const link = made("a", "", place);
      link.href = url;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
      line.append(link);
    } else {
      line.textContent = place;
    }
    return line;
  }

  function showNeighbours(neighbours) {
    find("neighbours").replaceChildren(...neighbours.map(({ id, text, code, similarity, place, url }) => {
      const details = document.createElement("details");
      const summary = made("summary", "", "");
      summary.append(made("span", "line", text), made("span", "faint", `similarity ${similarity.toFixed(2)}`));
      const body = document.createElement("div");
      body.append(originOf(place || id, url), codeOf(code, "", []));
      details.append(summary, body);
      return details;
    }));
    find("read").hidden = false;
  }

  async function* eventsOf(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) yield part.replace(/^data: /, "");
    }
  }

  async function ask() {
    if (aborter) return;
    aborter = new AbortController();
    problem("");
    answers.clear();
    find("answers").replaceChildren();
    find("read").hidden = true;
    find("ask").disabled = true;
    find("stop").disabled = false;
    find("progress").textContent = "Answering …";
    const temperature = find("temperature").value;
    const body = {
      model: find("model").value,
      prompt: find("prompt").value,
      n: Number(find("count").value),
      stream: true,
      highlight: true,
      ...(temperature === "" ? {} : { temperature: Number(temperature) }),
    };
    try {
      const options = { method: "POST", headers: headers(), body: JSON.stringify(body), signal: aborter.signal };
      const response = await fetch("/v1/completions", options);
      if (!response.ok) throw await refused(response);
      for await (const part of eventsOf(response)) {
        if (part === "[DONE]") break;
        const value = JSON.parse(part);
        if (value.error) throw new Error(value.error.message);
        value.choices.forEach(show);
      }
      find("progress").textContent = `${answers.size} ${answers.size === 1 ? "answer" : "answers"}`;
    } catch (error) {
      find("progress").textContent = aborter.signal.aborted ? "Stopped" : "";
      if (!aborter.signal.aborted) problem(error.message);
    }
    aborter = null;
    find("ask").disabled = false;
    find("stop").disabled = true;
  }

  find("form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  find("stop").addEventListener("click", () => aborter?.abort());
  find("key").addEventListener("change", loadModels);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") aborter?.abort();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("form").requestSubmit();
  });
  loadModels();
})();
