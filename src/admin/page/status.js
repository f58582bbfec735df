"use strict";
(() => {
  const EVERY = 2000;
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  // Text only: what is shown may come from strangers.
  function make(tag, text, kind, attributes) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (kind) element.className = kind;
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    return element;
  }
  function draw(tag, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  const grouped = new Intl.NumberFormat("en");
  const number = (value) => grouped.format(value).replace(/,/g, "\u202f");
  function bytes(value) {
    if (value === null || value === undefined) return "unknown";
    const units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let unit = 0;
    let left = value;
    while (left >= 999.5 && unit < units.length - 1) { left /= 1000; unit += 1; }
    const digits = unit === 0 || left >= 99.95 ? 0 : left >= 9.995 ? 1 : 2;
    return left.toFixed(digits) + "\u00a0" + units[unit];
  }
  function span(seconds) {
    const whole = Math.round(seconds);
    if (whole < 60) return whole + "\u00a0s";
    if (whole < 3600) return Math.floor(whole / 60) + "\u00a0min " + (whole % 60) + "\u00a0s";
    if (whole < 86400) return Math.floor(whole / 3600) + "\u00a0h " + Math.floor(whole % 3600 / 60) + "\u00a0min";
    return Math.floor(whole / 86400) + "\u00a0d " + Math.floor(whole % 86400 / 3600) + "\u00a0h";
  }
  function moment(text) {
    const time = new Date(text);
    return Number.isNaN(time.getTime()) ? text : time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  }

  // A row, with the name of each column for narrow screens.
  function row(body, cells) {
    const names = [...body.closest("table").tHead.rows[0].cells].map((cell) => cell.textContent);
    const line = make("tr");
    cells.forEach((cell, place) => {
      const element = make(place === cells.head ? "th" : "td", cell.text, cell.kind, { "data-name": names[place] });
      if (place === cells.head) element.setAttribute("scope", "row");
      if (cell.inside) element.append(cell.inside);
      line.append(element);
    });
    return line;
  }
  function fill(id, rows, empty) {
    const body = byId(id);
    const lines = rows.map((cells) => row(body, cells));
    if (lines.length === 0) {
      const line = make("tr");
      line.append(make("td", empty, "none", { colspan: body.closest("table").tHead.rows[0].cells.length }));
      lines.push(line);
    }
    body.replaceChildren(...lines);
  }
  function headed(head, cells) { cells.head = head; return cells; }
  const figure = (text, bad) => ({ text, kind: bad ? "n bad-figure" : "n" });

  function accounts(list) {
    fill("accounts", list.map((account) => {
      const known = account.used_bytes !== null && account.total_bytes > 0;
      const share = known ? account.used_bytes / account.total_bytes : 0;
      const percent = (100 * share).toFixed(1) + "\u00a0%";
      const meter = known ? make("progress", percent, "", { max: 1, value: share, "aria-label": "Used: " + percent }) : null;
      return headed(0, [
        { text: account.remotes.join(", ") },
        { text: account.plan || "unknown" },
        { inside: meter, text: known ? "" : "not known yet", kind: "wide" },
        figure(bytes(account.used_bytes)),
        figure(bytes(account.free_bytes)),
        figure(bytes(account.total_bytes)),
        { text: account.as_of ? moment(account.as_of) : "" },
      ]);
    }), "No account");
  }

  function transfers(list, total) {
    byId("transfer-count").textContent = total > list.length ? total + ", the oldest " + list.length + " shown" : String(total);
    fill("transfers", list.map((one) => {
      const rate = one.seconds > 0 ? one.done / one.seconds : 0;
      const share = one.size > 0 ? Math.min(1, one.done / one.size) : null;
      const percent = share === null ? "size unknown" : Math.floor(100 * share) + "\u00a0%";
      const bar = make("progress", percent, "", { "aria-label": one.path + ": " + percent });
      if (share !== null) { bar.max = 1; bar.value = share; }
      const left = share !== null && rate > 0 ? span((one.size - one.done) / rate) : "unknown";
      return headed(1, [
        { text: one.direction },
        { text: one.remote + ":" + one.path },
        { inside: bar, kind: "wide" },
        figure(bytes(one.done)),
        figure(bytes(one.size)),
        figure(bytes(rate) + "/s"),
        figure(share === 1 ? "storing" : left),
      ]);
    }), "Nothing is in flight");
  }

  function caches(list) {
    fill("caches", list.map((tree) => headed(0, [
      { text: tree.remotes.join(", ") },
      figure(number(tree.directories)),
      figure(number(tree.entries)),
      figure(number(tree.hits)),
      figure(number(tree.misses)),
      figure(number(tree.uploads) + ", " + bytes(tree.uploaded_bytes)),
      figure(number(tree.downloads) + ", " + bytes(tree.downloaded_bytes)),
      figure(number(tree.stored_wrong), tree.stored_wrong > 0),
      figure(number(tree.read_wrong), tree.read_wrong > 0),
      figure(number(tree.unfinished), tree.unfinished > 0),
    ])), "Nothing is remembered");
  }

  function fact(name, text, bad) {
    const box = make("div");
    box.append(make("dt", name), make("dd", text, bad ? "bad-figure" : ""));
    return box;
  }
  const sum = (values) => values.reduce((all, one) => all + one, 0);
  const most = (values) => values.reduce((all, one) => Math.max(all, one), 0);

  function plot(budget, width) {
    const { calls, waiting, locked, every_seconds: every, samples } = budget.history;
    const svg = draw("svg", { role: "img", viewBox: "0 0 " + width + " 190", preserveAspectRatio: "none" });
    const left = 34;
    const step = (width - left) / samples;
    const at = (place) => left + (samples - calls.length + place) * step;
    const limit = budget.calls_per_second === null ? 0 : budget.calls_per_second * every;
    const upper = { top: 14, bottom: 88, most: Math.max(limit * 1.1, most(calls), 1) };
    const lower = { top: 110, bottom: 166, most: Math.max(most(waiting), 4) };
    const y = (part, value) => part.bottom - (part.bottom - part.top) * value / part.most;
    let begin = null;
    locked.concat(0).forEach((is, place) => {
      if (is && begin === null) begin = place;
      if (!is && begin !== null) {
        const [from, to] = [at(begin), Math.min(at(place), width)];
        svg.append(draw("rect", { class: "band", x: from, width: to - from, y: upper.top, height: lower.bottom - upper.top }));
        for (const x of [from, to]) svg.append(draw("line", { class: "edge", x1: x, x2: x, y1: upper.top, y2: lower.bottom }));
        begin = null;
      }
    });
    for (const part of [upper, lower]) {
      for (const value of [0, part.most]) {
        const height = y(part, value);
        svg.append(draw("line", { class: "grid", x1: left, x2: width, y1: height, y2: height }));
        svg.append(draw("text", { x: left - 6, y: height + 4, "text-anchor": "end" }, String(Math.round(value))));
      }
    }
    calls.forEach((value, place) => {
      if (value > 0) svg.append(draw("rect", { class: "bar", x: at(place), width: Math.max(step - 0.4, 0.8), y: y(upper, value), height: upper.bottom - y(upper, value) }));
    });
    if (limit > 0) svg.append(draw("line", { class: "limit", x1: left, x2: width, y1: y(upper, limit), y2: y(upper, limit) }));
    if (waiting.length > 0) {
      const points = waiting.flatMap((value, place) => [at(place) + "," + y(lower, value), at(place + 1) + "," + y(lower, value)]);
      points.unshift(at(0) + "," + lower.bottom);
      points.push(at(waiting.length) + "," + lower.bottom);
      svg.append(draw("polygon", { class: "area", points: points.join(" ") }));
    }
    // Where there is little room, the labels of the ends and the middle.
    for (const minutes of width < 420 ? [60, 30, 0] : [60, 45, 30, 15, 0]) {
      const x = width - (width - left) * minutes / 60;
      const anchor = minutes === 60 ? "start" : minutes === 0 ? "end" : "middle";
      svg.append(draw("text", { x, y: 184, "text-anchor": anchor }, minutes === 0 ? "now" : "\u2212" + minutes + " min"));
    }
    const lock = sum(locked) * every;
    const told = "In the last hour: " + sum(calls) + " calls, at most " + most(waiting) + " waiting, "
      + (lock > 0 ? "locked for about " + span(lock) : "never locked");
    svg.setAttribute("aria-label", told);
    return { svg, told };
  }

  function budgets(list) {
    const box = byId("budgets");
    const width = Math.max(box.clientWidth - 32, 260);
    box.replaceChildren(...list.map((budget) => {
      const name = budget.scope === "website" ? "1Fichier's website (pages of shared folders)" : budget.remotes.join(", ");
      const card = make("div", undefined, "budget");
      const facts = make("dl", undefined, "facts");
      const waiting = Object.entries(budget.waiting).map(([priority, count]) => count + " " + priority);
      const isLocked = budget.locked_seconds !== null;
      facts.append(
        fact("State", isLocked ? "locked for " + span(budget.locked_seconds) + " more" : "open", isLocked),
        fact("Allowed", budget.calls_per_second === null ? "no limit" : budget.calls_per_second.toFixed(1) + " calls/s"),
        fact("Last minute", number(sum(Object.values(budget.calls_last_minute))) + " calls"),
        fact("Waiting now", waiting.length ? waiting.join(", ") : "none"),
        fact("Locks since the start", number(budget.floods), budget.floods > 0),
        fact("Calls since the start", number(budget.calls)),
      );
      const { svg, told } = plot(budget, width);
      const picture = make("figure");
      const caption = make("figcaption");
      caption.append(
        make("span", "calls in " + budget.history.every_seconds + " s", "key calls"),
        make("span", "limit", "key limit"),
        make("span", "calls waiting", "key waiting"),
        make("span", "locked", "key locked"),
        make("span", told),
      );
      picture.append(svg, caption);
      card.append(make("h3", name), facts, picture);
      return card;
    }));
  }

  function counters(status) {
    byId("in-work").textContent = number(status.calls.in_work + status.http.in_work);
    const ended = Object.entries(status.calls.by_code)
      .concat(Object.entries(status.http.by_status).map(([end, count]) => ["HTTP " + end, count]));
    fill("calls", ended.map(([code, count]) =>
      headed(0, [{ text: code }, figure(number(count), ["DATA_LOSS", "INTERNAL", "UNKNOWN", "HTTP broken"].includes(code))])), "No call yet");
    fill("upstream", status.upstream.map((one) => headed(0, [
      { text: status.accounts.length > 1 ? one.remotes[0] + ": " + one.endpoint : one.endpoint },
      { text: one.outcome, kind: one.outcome === "ok" ? "" : "bad-figure" },
      figure(number(one.count)),
      figure((1000 * one.seconds / one.count).toFixed(0) + "\u00a0ms"),
    ])), "No request yet");
  }

  let last = null;
  function show(status) {
    last = status;
    const troubled = status.problems.length > 0;
    const state = byId("state");
    const text = status.serving ? (troubled ? "serving, with problems" : "serving") : "stopping";
    if (state.textContent !== text) state.textContent = text;
    state.className = troubled ? "badge bad" : "badge";
    byId("about").textContent = "version " + status.version + ", up " + span(status.uptime_seconds);
    byId("problems").hidden = !troubled;
    byId("problem-list").replaceChildren(...status.problems.map((one) =>
      make("li", (one.remotes.length ? one.remotes.join(", ") + ": " : "") + one.text)));
    accounts(status.accounts);
    budgets(status.budgets);
    transfers(status.transfers, status.transfers_total);
    caches(status.caches);
    byId("spool").textContent = bytes(status.spool.used_bytes) + " of " + bytes(status.spool.limit_bytes);
    counters(status);
  }

  let answered = null;
  let timer = null;
  let asking = false;
  function tellAge() {
    const stale = answered !== null && Date.now() - answered > 3 * EVERY;
    document.body.classList.toggle("stale", stale);
    const time = answered === null ? "" : new Date(answered).toLocaleTimeString();
    byId("fresh").textContent = answered === null ? "" : stale ? "no answer since " + time : "as of " + time;
    if (stale) {
      byId("state").textContent = "no answer";
      byId("state").className = "badge bad";
    }
  }
  async function ask() {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error("HTTP " + answer.status);
      show(await answer.json());
      answered = Date.now();
    } catch (error) {
      if (answered === null) {
        byId("state").textContent = "no answer";
        byId("state").className = "badge bad";
      }
    }
    asking = false;
    tellAge();
  }
  function watch() {
    clearInterval(timer);
    timer = null;
    if (document.hidden) return;
    ask();
    timer = setInterval(ask, EVERY);
  }
  document.addEventListener("visibilitychange", watch);
  let resized = null;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => { if (last) budgets(last.budgets); }, 100);
  });
  watch();
})();
