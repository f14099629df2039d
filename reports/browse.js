"use strict";
(() => {
  const SHOWN = 100;
  const KEPT = 8;
  const find = (id) => document.getElementById(id);
  const section = find("samples");
  const [folder, parts] = [section.dataset.folder, Number(section.dataset.parts)];
  const labels = [...find("filter-verdict").options].slice(1).map((option) => option.textContent);
  const tasks = [...find("filter-task").options].slice(1).map((option) => option.textContent);
  // A row: task, number, id, beginning, question, verdicts, length, score, disagreement, page, place.
  const rows = [];
  const pages = new Map();
  const waiting = new Map();
  let found = [];
  let first = 0;

  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const load = (name) =>
    new Promise((done, failed) => {
      const script = make("script");
      script.src = `${folder}/${name}.js`;
      script.onload = () => { script.remove(); done(); };
      script.onerror = () => failed(new Error(`${folder}/${name}.js can't be read`));
      document.head.append(script);
    });

  window.h3eval = {
    rows: (more) => { for (const row of more) rows.push(row); },
    page: (number, samples) => {
      pages.set(number, samples);
      if (pages.size > KEPT) pages.delete(pages.keys().next().value);
    },
  };

  const page = async (number) => {
    if (!pages.has(number)) {
      if (!waiting.has(number)) waiting.set(number, load(`page-${number}`).finally(() => waiting.delete(number)));
      await waiting.get(number);
    }
    return pages.get(number);
  };

  const turn = (kind, head, text, note, aside) => {
    const element = make("div", `turn ${kind}`);
    const title = make("h4", "", head);
    if (note) title.append(" ", make("span", kind.includes("failure") ? "chip bad" : "chip accent", note));
    element.append(title);
    for (const [each, name] of [[text, "text"], [aside, "text aside"]]) {
      if (!each) continue;
      const block = make("pre", name, each);
      block.dir = "auto";
      block.tabIndex = 0;
      element.append(block);
    }
    return element;
  };

  const choices = (given) => {
    const table = make("table", "choices");
    for (const [text, logprob] of given) {
      const line = table.insertRow();
      line.append(make("td", "", text), make("td", "num", logprob || "—"));
    }
    return table;
  };

  const body = (row, sample) => {
    const [prompt, given, answers, failure, reference, readings, metadata] = sample;
    const element = make("div", "body");
    const line = make("h3", "small soft", "Sample ");
    line.append(make("code", "", row[2]), ` of ${tasks[row[0]]}`);
    element.append(line);
    for (const [role, text] of prompt) element.append(turn("", role, text));
    if (given.length) element.append(choices(given));
    for (const [role, text, note] of answers) element.append(turn("answer", role, text || "(empty)", note));
    if (failure) element.append(turn("failure", "failure", failure[1], failure[0]));
    if (reference !== null) element.append(turn("", "reference", reference));
    for (const [role, judge, label, score, probability, raw, details, broken] of readings) {
      const head = judge && judge !== role ? `${role} · ${judge}` : role;
      const note = broken ? `no verdict: ${label}` : `${label}, score ${score}${probability ? `, probability ${probability}` : ""}`;
      element.append(turn(broken ? "verdict failure" : "verdict", head, raw, note, details));
    }
    if (metadata !== null) element.append(turn("", "metadata", "", "", metadata));
    return element;
  };

  const entry = (row) => {
    const failed = row[5].some((code) => labels[code] === "something failed");
    const element = make("details", failed ? "sample failed" : "sample");
    const summary = make("summary");
    const chips = make("span", "chips");
    if (row[8]) chips.append(make("span", "chip bad", "judges disagree"));
    for (const code of row[5]) chips.append(make("span", labels[code] === "something failed" ? "chip bad" : "chip", labels[code]));
    const words = make("span", "excerpt", row[3] || row[4] || "(empty)");
    words.dir = "auto";
    summary.append(make("span", "count", row[1].toLocaleString("en")), words, chips);
    element.append(summary);
    element.addEventListener("toggle", async () => {
      if (!element.open || element.children.length > 1) return;
      try {
        const samples = await page(row[9]);
        if (element.children.length === 1) element.append(body(row, samples[row[10]]));
      } catch (error) {
        element.append(make("p", "body bad", error.message));
      }
    });
    return element;
  };

  const show = () => {
    const last = Math.min(first + SHOWN, found.length);
    find("list").replaceChildren(...found.slice(first, last).map(entry));
    find("where").textContent = found.length ? `${(first + 1).toLocaleString("en")} – ${last.toLocaleString("en")}` : "nothing fits";
    find("before").disabled = first === 0;
    find("after").disabled = last === found.length;
    find("pager").hidden = false;
  };

  const apply = () => {
    const wanted = find("filter-text").value.trim().toLowerCase();
    const [task, verdict, split, least, most] = ["task", "verdict", "split", "least", "most"].map((name) => find(`filter-${name}`).value);
    const fits = (row) =>
      (task === "" || row[0] === Number(task)) &&
      (verdict === "" || row[5].includes(Number(verdict))) &&
      (split === "" || row[8] === 1) &&
      (least === "" || row[6] >= Number(least)) &&
      (most === "" || row[6] <= Number(most)) &&
      (wanted === "" || `${row[2]} ${row[3]} ${row[4]}`.toLowerCase().includes(wanted));
    found = rows.filter(fits);
    const key = Number(find("sort").value);
    if (key !== 1) {
      const [place, sign] = [Math.abs(key), Math.sign(key)];
      // What has no score stays at the end.
      found.sort((a, b) => (a[place] === null) - (b[place] === null) || sign * (a[place] - b[place]));
    }
    first = 0;
    find("filter-count").textContent = `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} samples`;
    show();
  };

  const move = (step) => {
    first = Math.max(0, first + step);
    show();
    section.scrollIntoView();
  };

  const start = async () => {
    find("filters").hidden = false;
    for (let part = 0; part < parts; part += 1) {
      await load(`index-${part}`);
      if (part === 0) apply();
    }
    apply();
  };

  let soon = 0;
  find("filters").addEventListener("input", (event) => {
    clearTimeout(soon);
    // Only typing goes on.
    if (event.target.tagName === "SELECT") apply();
    else soon = setTimeout(apply, 150);
  });
  find("before").addEventListener("click", () => move(-SHOWN));
  find("after").addEventListener("click", () => move(SHOWN));
  start().catch((error) => { find("filter-count").textContent = error.message; });
})();
