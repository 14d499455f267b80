"use strict";
// Everything that comes from outside reaches the screen as text: this file never makes HTML of it.

const main = document.getElementById("main");
const state = document.getElementById("state");
const sentence = document.getElementById("sentence");
const ROWS = 20;
const DEVICES_MS = 5000;
const STALE_MS = 20000; // the gateway speaks at least every 15 s
let shown = 0;
let page = null;
let now = null;
let heardAt = 0;

function node(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const time = (ms) => new Date(ms).toISOString().replace("T", " ").slice(0, 19) + " UTC";
const brief = (id) => id.slice(0, 8) + "…";
const to = (...parts) => "#/" + parts.map(encodeURIComponent).join("/");
const count = (value) => value.toLocaleString("en");
const counted = (value, what) => `${count(value)} ${what}${value === 1 ? "" : "s"}`;
const device = (id, text) => node("a", { href: to("device", id), title: id }, text || brief(id));
const words = (name) => name.replaceAll("-", " ").replaceAll("_", " ");
const minutes = (ms) => (ms < 120000 ? "less than two minutes" : span(Math.floor(ms / 60000) * 60000));
// Ages are by the gateway's clock: this machine's may be another.
const ago = (ms) => {
  const past = ms === null ? null : (now ? now.time_ms : ms) - ms;
  return past === null ? "never" : past < 1000 ? "now" : `${span(past)} ago`;
};
const bytes = (size) => {
  for (const [unit, name] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (size >= unit) return `${(size / unit).toFixed(1)} ${name}`;
  }
  return `${size} B`;
};

function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  for (const [unit, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (s >= 2 * unit) return `${Math.floor(s / unit)} ${name}`;
  }
  return `${s} s`;
}

function headers() {
  const token = document.getElementById("token").value.trim();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function open(path, signal) {
  const answer = await fetch(path, { headers: headers(), credentials: "omit", cache: "no-store", signal });
  if (!answer.ok) {
    let why = String(answer.status);
    try { why = (await answer.json()).title; } catch { /* no body of ours */ }
    if (answer.status === 401) document.getElementById("access").open = true;
    throw new Error(why);
  }
  return answer;
}

const ask = async (path) => (await open(path)).json();

function facts(rows) {
  const list = node("dl");
  for (const [name, value] of rows) list.append(node("dt", {}, name), node("dd", {}, value));
  return list;
}

// columns: [heading, is a number, is short]; rows: lists of what stands in a cell, the first a row's name.
// The roles say again what the elements are: on a phone the style makes blocks of them.
function table(caption, columns, rows) {
  const head = node("tr", { role: "row" });
  const kind = ([, number, short]) => (number ? "number" : short ? "short" : "text");
  for (const column of columns) head.append(node("th", { scope: "col", role: "columnheader", class: kind(column) }, column[0]));
  const body = node("tbody", { role: "rowgroup" });
  for (const row of rows) {
    const line = node("tr", { role: "row" });
    row.forEach((cell, at) => line.append(at === 0 ? node("th", { scope: "row", role: "rowheader" }, cell)
      : node("td", { role: "cell", class: kind(columns[at]), "data-label": `${columns[at][0]}:` }, cell)));
    body.append(line);
  }
  return node("table", { role: "table" }, node("caption", {}, caption), node("thead", { role: "rowgroup" }, head), body);
}

// A part is made anew only when what it shows changed, so that focus and selection stay.
function part(holder, key, make) {
  const mark = JSON.stringify(key);
  if (holder.dataset.mark === mark) return;
  const at = holder.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  holder.dataset.mark = mark;
  holder.replaceChildren(...make());
  // Who went through it by keyboard is where it was.
  if (at !== null) [...holder.querySelectorAll("a")].find((one) => one.getAttribute("href") === at)?.focus({ preventScroll: true });
}

// Commands stand between backticks in our own sentences.
const marked = (text) => text.split("`").map((one, at) => (at % 2 ? node("code", {}, one) : one));

// --- what holds ------------------------------------------------------------------------------

const guideTo = (name) => node("a", { href: to("guide", name) }, "What to do, step by step");

function conditions(status) {
  const made = [];
  for (const one of status.conditions) {
    const about = node("p");
    one.devices.forEach(({ id, name }, at) => about.append(at ? ", " : "Devices: ", device(id, name)));
    const since = one.since_ms === null ? "" : ` ${one.noticed ? "noticed" : "since"} ${time(one.since_ms)}, ${minutes(now.time_ms - one.since_ms)} ago`;
    made.push(node("li", { class: one.grave ? "grave" : "mild" },
      node("p", {}, node("strong", {}, words(one.name)), ", ", node("span", { class: `state ${one.grave ? "bad" : "wait"}` }, one.grave ? "act now" : "look soon"), since),
      node("p", {}, status.conditions.length > 1 ? `${one.sentence} ` : "", one.costs), node("p", {}, ...marked(one.what_to_do), " ", guideTo(one.name)), one.devices.length ? about : ""));
  }
  for (const text of status.beside) made.push(node("li", { class: "mild" }, node("p", {}, ...marked(text))));
  return made.length ? [node("ul", { class: "conditions", "aria-label": "What holds" }, ...made)] : [];
}

function tell(status) {
  now = status;
  heardAt = Date.now();
  headline(status.sentence, status.well ? "well" : status.conditions.some((one) => one.grave) ? "grave" : "warn");
}

function headline(text, kind) {
  if (sentence.textContent !== text) sentence.textContent = text;
  sentence.className = kind;
}

// Nobody may read "all is well" of a gateway that says nothing any more.
function doubt() {
  if (now === null || Date.now() - heardAt < STALE_MS) return;
  headline(`Nothing was heard of this gateway for ${span(Date.now() - heardAt)}: what is shown here is of ${time(now.time_ms)}.`, "grave");
}

// --- plots -----------------------------------------------------------------------------------

function clockTimes(_, places, __, ___, step_s) {
  return places.map((at) => new Date(at * 1000).toISOString().slice(11, step_s < 60 ? 19 : 16));
}

function plot(figure, samples, at, name, unit) {
  const values = samples.map((one) => one[at]);
  const known = values.filter((value) => value !== null);
  const last = known.length ? known[known.length - 1] : null;
  const told = (value) => count(Math.round(value * 10) / 10);
  const text = last === null ? `${name}: not known yet.`
    : `${name}: ${told(last)} ${unit} now, at most ${told(Math.max(...known))} in the time that is shown.`;
  const width = figure.clientWidth || 300;
  const colour = getComputedStyle(document.body).color;
  const side = getComputedStyle(document.documentElement).getPropertyValue("--side").trim();
  const grid = { stroke: "rgba(128, 128, 128, .25)", width: 1 };
  const holder = node("div", { "aria-hidden": "true" });
  figure.replaceChildren(node("figcaption", {}, text), holder);
  if (typeof uPlot === "undefined" || samples.length < 2) return;
  const axis = { stroke: colour, grid, ticks: grid };
  new uPlot({
    width, height: 170, legend: { show: false }, cursor: { show: false },
    scales: { y: { range: (_, least, most) => [0, Math.max(1, most || 0) * 1.1] } },
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    axes: [{ ...axis, space: 70, values: clockTimes }, { ...axis, size: 60 }],
    series: [{}, { stroke: side, width: 2, fill: "rgba(47, 95, 179, .12)", points: { show: false } }],
  }, [samples.map((one) => one[0] / 1000), values], holder);
}

// --- all of it -------------------------------------------------------------------------------

function deviceRow(one) {
  const name = node("span", {}, device(one.id, one.tag || brief(one.id)), " ",
    node("span", { class: "soft" }, `${one.iss} `), node("span", { class: "id soft" }, brief(one.id)));
  const bad = one.suspect !== null;
  const trouble = one.trouble.length ? one.trouble.join(", ") : one.seen_ms === null ? "not heard yet" : "well";
  const kind = bad ? "bad" : one.trouble.length ? "wait" : one.seen_ms === null ? "soft" : "good";
  const held = one.custody === one.custody_claimed ? one.custody : `${one.custody} (${one.custody_claimed} is not shown)`;
  return [name, node("span", { class: `state ${kind}` }, trouble), ago(one.seen_ms), count(one.backlog),
    held || "not known", one.gaps || one.parked ? `${count(one.gaps)} missing, ${count(one.parked)} parked` : "none",
    clock(one.skew), one.counter_left === null ? "—" : count(one.counter_left)];
}

function clock(skew) {
  if (skew === null) return "not told";
  const off = Math.abs(skew.offset_ms);
  if (off <= Math.max(1000, skew.uncertainty_ms)) return `within ${span(Math.max(1000, skew.uncertainty_ms))}`;
  if (skew.offset_ms > 0) return `${span(off)} ahead`;
  return skew.steady ? `${span(off)} behind` : `${span(off)} behind or late`;
}

const DEVICE_COLUMNS = [["device", false], ["state", false], ["last seen", false, true], ["backlog", true], ["key held in", false],
  ["gaps", false], ["clock", false], ["counter left", true]];

function devicesPart() {
  const holder = node("div");
  const only = node("input", { type: "checkbox", id: "only" });
  const before = node("button", { type: "button" }, "Previous");
  const after = node("button", { type: "button" }, "Next");
  const where = node("span", { class: "soft", role: "status" });
  const tools = node("div", { class: "tools" }, node("label", {}, only, " only those with trouble or gaps"), before, after, where);
  let first = 0;
  let asked = 0;
  async function look() {
    asked = Date.now();
    const query = new URLSearchParams({ first, limit: ROWS, trouble: only.checked ? 1 : 0, q: document.getElementById("q").value.trim() });
    let found;
    try {
      found = await ask(`/v1/devices?${query}`);
    } catch (error) {
      say(error.message);
      return;
    }
    if (first >= found.found && first > 0) {
      first = Math.max(0, Math.floor((found.found - 1) / ROWS) * ROWS);
      return;
    }
    const last = first + found.devices.length;
    before.disabled = first === 0;
    after.disabled = found.next === null;
    const text = found.found ? `${count(first + 1)} to ${count(last)} of ${count(found.found)}` : "none found";
    if (where.textContent !== text) where.textContent = text;
    part(holder, found.devices.map((one) => [one, ago(one.seen_ms)]), () => [
      table("Those with trouble come first. Backlog: records that some validator has not receipted.", DEVICE_COLUMNS, found.devices.map(deviceRow))]);
  }
  const turn = (to) => { first = Math.max(0, to); look(); };
  before.addEventListener("click", () => turn(first - ROWS));
  after.addEventListener("click", () => turn(first + ROWS));
  only.addEventListener("change", () => turn(0));
  const tick = () => { if (Date.now() - asked >= DEVICES_MS) look(); };
  return { parts: [node("h2", { id: "devices" }, "Devices"), tools, holder], look, tick, turn };
}

function validatorState(one) {
  const how = { open: "tried seldom", "half-open": "tried now" }[one.circuit];
  const circuit = how ? `; circuit ${one.circuit} (${how}) since ${time(one.circuit_since_ms)}` : "";
  if (one.refuses !== null) return node("span", { class: "state bad" }, `refuses: ${one.refuses}${circuit}`);
  if (one.error !== null) return node("span", { class: "state wait" }, one.error + circuit);
  return node("span", { class: `state ${circuit ? "wait" : "good"}` }, (one.answered_ms === null ? "not asked yet" : "answers") + circuit);
}

function validatorLag(one) {
  if (!(one.lag + one.held)) return "nothing waits";
  const held = one.held ? `, ${count(one.held)} of them for a quota` : "";
  return `${counted(one.lag + one.held, "segment")}${held}, the oldest for ${one.waits_since_ms === null ? "a time not known" : span(now.time_ms - one.waits_since_ms)}`;
}

function validators(status) {
  const rows = status.validators.map((one) => [
    node("a", { href: one.url, rel: "noopener noreferrer" }, one.name), validatorState(one), validatorLag(one), count(one.receipts),
    Object.entries(one.verdicts).map(([name, number]) => `${count(number)} ${words(name)}`).join(", ") || "none",
    count(one.set_aside), ago(one.answered_ms)]);
  if (!rows.length) return [node("p", { class: "soft" }, "None is configured.")];
  return [table("What each has and says. Lag: segments that wait for it.", [["validator", false], ["state", false], ["lag", false],
    ["receipts", true], ["verdicts in force", false], ["set aside", true], ["last took", false, true]], rows)];
}

// What several validators say of one interaction is one line.
function conflicts(found) {
  if (!found.length) return [node("p", { class: "soft" }, "None.")];
  const lines = new Map();
  for (const one of found) {
    const of = `${one.namespace} ${one.interaction} ${one.why}`;
    lines.set(of, [...(lines.get(of) || []), one]);
  }
  const list = node("ul", { class: "rows" });
  for (const told of lines.values()) {
    const one = told[0];
    const parties = node("span", { class: "soft" }, " of ");
    one.devices.forEach(({ id, name }, at) => parties.append(at ? ", " : "", device(id, name)));
    const who = node("div", { class: "soft" }, `${time(one.time_ms)}, says `);
    told.forEach(({ link, validator }, at) => who.append(at ? ", " : "", node("a", { href: link, rel: "noopener noreferrer" }, validator)));
    who.append(`: ${one.why || "no check is named"}`);
    list.append(node("li", {}, node("span", { class: "state bad" }, "conflicting "),
      node("a", { href: one.link, rel: "noopener noreferrer" }, `${one.namespace} / ${brief(one.interaction)}`), parties, who));
  }
  return [list];
}

function listed(rows, none) {
  if (!rows.length) return [node("p", { class: "soft" }, none)];
  return [node("ul", { class: "rows" }, ...rows.map((row) => node("li", {}, ...row)))];
}

const aside = (status) => listed(status.quarantine.map((one) => [
  `${counted(one.count, "segment")} by ${one.where}: ${one.reason}${one.settled ? `, ${one.settled === one.count ? "" : `${count(one.settled)} of them `}settled by the end of the device's key` : ""}`, node("span", { class: "soft" }, `, since ${time(one.since_ms)}`)]), "Nothing is set aside.");
const refused = (rows) => listed(rows.map((one) => [node("strong", {}, one.reason), ` ${counted(one.count, "time")}, the last at ${time(one.last_ms)}`,
  node("div", { class: "soft" }, one.message)]), "Nothing was refused.");
const holds = (status) => listed(status.holds.map((one) => [node("strong", {}, one.name),
  `, ${one.devices === null ? "asked of all devices too" : one.devices ? `asked of ${counted(one.devices, "device")} too` : "of this gateway alone"}`,
  node("span", { class: "soft" }, `, since ${time(one.since_ms)}`), node("div", { class: "soft" }, one.why)]), "None: what is delivered may be pruned.");
const ends = (status) => listed(status.expiries.slice(0, 5).map((one) => [
  `${one.what} ends on ${time(one.until_ms).slice(0, 10)}`]), "Nothing ends.");

function here(status) {
  const { process, disk, totals } = status;
  return [facts([
    ["broker", `${process.broker}, ${process.connected ? "connected" : "not connected"} since ${time(process.connected_since_ms)}, lost ${counted(process.connections_lost, "time")}`],
    ["messages twice", `${count(process.duplicates)} on one connection; ${counted(process.sessions_lost, "session")} that the broker forgot; ${counted(process.clients_replaced, "hanging client")} replaced`],
    ["store", `${bytes(disk.used_bytes)} of ${bytes(disk.allowed_bytes)} (${(100 * disk.used_bytes / disk.allowed_bytes).toFixed(1)} %)`],
    ["in custody", `${counted(totals.records, "record")} in ${counted(totals.segments, "segment")} of ${counted(totals.devices, "device")}`],
    ["custody receipts", count(totals.custody_receipts)],
    ["parked", `${counted(totals.parked_segments, "segment")} that came early, ${bytes(totals.parked_bytes)}; ${count(process.parked_dropped)} left to other gateways`],
    ["verified ahead", `${counted(process.verified_ahead, "segment")} in time, ${count(process.verified_late)} late, ${count(process.verifiers_replaced)} processes replaced`],
    ["no room for", `${count(process.not_taken)} messages up, ${count(process.not_sent_down)} down`],
    ["configuration", process.config_error ? node("span", { class: "state bad" }, process.config_error) : "in force as the file says it"],
    ["key", process.key_error ? node("span", { class: "state bad" }, process.key_error) : "signs"],
    ["gateway", node("span", { class: "id" }, status.gateway)],
    ["program", `tallystick ${status.version}, since ${time(process.started_ms)}`],
  ])];
}

async function home() {
  const { samples } = await ask("/v1/history");
  const status = await ask("/v1/status");
  const made = {};
  for (const name of ["conditions", "validators", "conflicts", "aside", "refused", "holds", "ends", "here"]) made[name] = node("div");
  const rates = node("figure"), backlog = node("figure");
  const list = devicesPart();
  let drawn = -1;
  let holding = null;
  function draw() {
    if (drawn === samples.length) return;
    drawn = samples.length;
    plot(rates, samples, 1, "Throughput", "records a second");
    plot(backlog, samples, 3, "Backlog of the slowest validator", "segments");
  }
  function update(one) {
    tell(one);
    const last = samples[samples.length - 1];
    if (one.sample && (!last || one.sample[0] > last[0])) samples.push(one.sample);
    part(made.conditions, [one.conditions, one.beside, one.conditions.map((held) => held.since_ms && minutes(one.time_ms - held.since_ms))], () => conditions(one));
    const held = one.conditions.map(({ name, devices }) => [name, devices]).toString();
    if (held !== holding) { holding = held; list.look(); }
    part(made.validators, [one.validators, one.validators.map((row) => [ago(row.answered_ms), ago(row.waits_since_ms)])], () => validators(one));
    part(made.conflicts, one.conflicts, () => conflicts(one.conflicts));
    part(made.aside, one.quarantine, () => aside(one));
    part(made.refused, one.refused, () => refused(one.refused));
    part(made.holds, one.holds, () => holds(one));
    part(made.ends, one.expiries.slice(0, 5), () => ends(one));
    part(made.here, [one.process, one.disk, one.totals], () => here(one));
    list.tick();
    if (made.here.isConnected) draw();
  }
  update(status);
  return {
    title: `Gateway ${status.name}`, update, search: () => list.turn(0),
    redraw() { drawn = -1; draw(); },
    parts: [made.conditions, ...list.parts, node("h2", {}, "Validators"), made.validators,
      node("h2", {}, "Conflicts of the last day"), made.conflicts,
      node("h2", {}, "Throughput and backlog, times in UTC"), node("div", { class: "plots" }, rates, backlog),
      node("h2", {}, "Set aside"), made.aside, node("h2", {}, "Refused at the door"), made.refused,
      node("h2", {}, "Holds in force"), made.holds, node("h2", {}, "What ends next"), made.ends, node("h2", {}, "This gateway"), made.here],
  };
}

// --- one device ------------------------------------------------------------------------------

async function oneDevice(id) {
  const holder = node("div");
  const path = `/v1/devices/${encodeURIComponent(id)}`;
  let found = await ask(path);
  let asked = Date.now();
  const fill = () => part(holder, [found, ago(found.device.seen_ms)], () => deviceParts(found));
  fill();
  return {
    title: `Device ${found.device.tag || brief(id)}`, parts: [holder],
    async update(status) {
      tell(status);
      if (Date.now() - asked < DEVICES_MS) return;
      asked = Date.now();
      try { found = await ask(path); fill(); } catch (error) { say(error.message); }
    },
  };
}

const GUIDE_OF = { forked: "device-forked", "put back": "device-forked", silent: "device-silent", "clock off": "clock-off", expiring: "expiring" };

function deviceParts(found) {
  const one = found.device;
  const row = deviceRow(one);
  const parts = [facts([
    ["id", node("span", { class: "id" }, one.id)], ["fleet", one.iss], ["state", row[1]], ["key's status", one.status],
    ...Object.entries(found.details).map(([name, value]) => [words(name), value]),
    ["last seen", one.seen_ms === null ? "never" : `${ago(one.seen_ms)} (${time(one.seen_ms)})`],
    ["must report every", one.interval_s ? span(one.interval_s * 1000) : "not declared"],
    ["records here", count(one.records)], ["backlog", `${count(one.backlog)} records that some validator has not receipted`],
    ["gaps", row[5]], ["clock", row[6]],
    ["hold", { held: "frees nothing", "to hold": "told, and not heard of yet", "to release": "its end is told, and not heard of yet" }[one.hold] || "none"],
    ["hardware counter", one.counter === null ? "none" : `${count(one.counter)}${one.counter_left === null ? "" : `, ${count(one.counter_left)} left`}`],
    ["enrolled until", one.valid_until_s ? time(one.valid_until_s * 1000).slice(0, 10) : "not known"],
  ])];
  if (one.suspect !== null) parts.push(node("p", { class: "state bad" }, `Suspect: ${one.suspect}. Both branches are kept.`));
  const guides = new Set(one.trouble.map((what) => GUIDE_OF[what]).filter(Boolean));
  for (const name of guides) parts.push(node("p", {}, `${words(name)}: `, guideTo(name)));
  const logs = found.logs.map((log) => {
    const pieces = log.pieces.map(([from, until]) => `${count(from)} to ${count(until)}`).join(", ") || "nothing placed yet";
    const far = Object.entries(log.validators).map(([name, size]) => `${name} has ${count(size)}`).join(", ");
    return [node("span", { class: "id" }, log.epoch), ` ${pieces}`,
      node("div", { class: "soft" }, [far || "no validator has receipted it", log.parked ? `${count(log.parked)} parked` : "",
        log.left_at === null ? "" : `left at ${count(log.left_at)}`, `since ${time(log.since_ms)}`].filter(Boolean).join("; "))];
  });
  const forks = found.forks.map((fork) => [`Log `, node("span", { class: "id" }, fork.epoch), ` at ${count(fork.size)}, seen ${time(fork.time_ms)}`]);
  parts.push(node("h2", {}, "Its logs: what is here"), ...listed(logs, "Nothing came yet."),
    node("h2", {}, "Its keys"), ...listed(found.keys.map((text) => [text]), "None is accepted."));
  if (forks.length) parts.push(node("h2", {}, "Contradictions"), ...listed(forks, ""));
  parts.push(node("h2", {}, "Conflicts of the last day"), ...conflicts(found.conflicts),
    node("h2", {}, "What was refused of it"), ...refused(found.refused));
  return parts;
}

// --- what to do ------------------------------------------------------------------------------

async function guide(name) {
  const { guides } = await ask("/v1/guide");
  const found = guides.filter((one) => !name || one.name === name);
  if (!found.length) return { title: "There is no such page", parts: [] };
  const parts = found.flatMap((one) => [
    ...(name ? [] : [node("h2", {}, node("a", { href: to("guide", one.name) }, words(one.name)))]),
    facts([["holds when", node("span", {}, ...marked(one.holds))], ["costs", node("span", {}, ...marked(one.costs))]]),
    node("ol", {}, ...one.steps.map((step) => node("li", {}, ...marked(step))))]);
  const where = node("p", { class: "soft" }, "The same stands in docs/operations.md", name ? `, section ${name}. ` : ".");
  if (name) where.append(node("a", { href: "#/guide" }, "All ten conditions"));
  return { title: name ? `What to do: ${words(name)}` : "What to do about each condition", parts: [...parts, where] };
}

// --- where we are, and what comes ------------------------------------------------------------

function say(text) { if (state.textContent !== text) state.textContent = text; }

async function show() {
  const turn = ++shown;
  const [where = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/").map((text) => {
    try { return decodeURIComponent(text); } catch { return text; }
  });
  if (where === "main" && page) { main.focus(); return; }
  const pages = { "": home, main: home, device: () => oneDevice(rest[0] || ""), guide: () => guide(rest[0]) };
  let made;
  try {
    made = Object.hasOwn(pages, where) ? await pages[where]() : { title: "There is no such page", parts: [] };
  } catch (error) {
    made = { title: "That did not work", parts: [node("p", {}, error.message)], failed: true };
  }
  if (turn !== shown) return;
  document.title = `${made.title} · tallystick`;
  main.replaceChildren(node("h1", {}, made.title), ...made.parts);
  main.dataset.page = where || "home";
  // Not at the start: a keyboard begins at the top of the page.
  if (page) main.focus({ preventScroll: true });
  page = made;
  if (made.redraw) made.redraw();
}

// A stream of our own making: EventSource cannot send the token.
let streaming = null;

async function listen() {
  if (streaming) streaming.abort();
  const mine = streaming = new AbortController();
  while (mine === streaming) {
    try {
      const answer = await open("/v1/events", mine.signal);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      say("live");
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        rest += value;
        const parts = rest.split("\n\n");
        rest = parts.pop();
        // The gateway speaks at least every 15 s; without a status it sees nothing new itself.
        const told = parts.some((one) => one.includes("data: ")) ? "live" : "live, and nothing new is known";
        if (parts.length) say(told);
        const data = parts.map((one) => one.split("\n").find((line) => line.startsWith("data: "))).filter(Boolean).pop();
        if (data) heard(JSON.parse(data.slice(6)));
      }
      say("the stream was cut; it comes back by itself");
    } catch (error) {
      if (mine !== streaming) return;
      say(`not live: ${error.message}`);
    }
    await new Promise((done) => { setTimeout(done, 2000); });
  }
}

function heard(status) {
  if (page && page.update) page.update(status); else tell(status);
  if (page && page.failed) show();
}

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  if (page && page.search) page.search(); else location.hash = "#/";
});
document.getElementById("token").addEventListener("change", () => { show(); listen(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (page && page.redraw) page.redraw(); });
addEventListener("resize", () => { if (page && page.redraw) page.redraw(); });
addEventListener("hashchange", show);
setInterval(doubt, 1000);
show();
listen();
