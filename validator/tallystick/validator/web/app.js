"use strict";
// Everything that comes from outside reaches the screen as text: this file never makes HTML of it.

const main = document.getElementById("main");
const state = document.getElementById("state");
let stream = null;
let shown = 0;

function node(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Words of ours that are class names too; anything else from outside is no class.
const WORDS = new Set(["pending", "matched", "conflicting", "one_sided", "insufficient",
  "unresolved", "pass", "fail", "not_evaluated", "suspect", "compromised"]);
const kind = (word) => (WORDS.has(word) ? word : "other");
const badge = (word) => node("span", { class: `state ${kind(word)}` }, word.replace("_", " "));
const time = (ms) => new Date(ms).toISOString().replace("T", " ").slice(0, 19) + " UTC";
const brief = (id) => id.slice(0, 8) + "…";
const to = (...parts) => "#/" + parts.map(encodeURIComponent).join("/");
const device = (id) => node("a", { class: "id", href: to("device", id), title: id }, brief(id));

async function ask(path) {
  const token = document.getElementById("token").value.trim();
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, credentials: "omit" });
  if (!answer.ok) {
    let why = String(answer.status);
    try { why = (await answer.json()).title; } catch { /* no body of ours */ }
    throw new Error(why);
  }
  const media = answer.headers.get("content-type") || "";
  return media.startsWith("application/json") ? answer.json() : answer.text();
}

const api = (...parts) => "/" + parts.map(encodeURIComponent).join("/");

function facts(rows) {
  const list = node("dl");
  for (const [name, value] of rows) list.append(node("dt", {}, name), node("dd", {}, value));
  return list;
}

function setRow(set) {
  const parties = node("span", { class: "soft" });
  for (const [role, ids] of Object.entries(set.parties)) {
    parties.append(` ${role} `);
    ids.forEach((id, at) => parties.append(at ? ", " : "", device(id)));
  }
  const link = node("a", { class: "id", href: to("interaction", set.namespace, set.interaction) },
    `${set.namespace} / ${set.interaction}`);
  return node("li", {}, badge(set.state), " ", link, parties);
}

// --- verdicts, as they come ------------------------------------------------------------------

const ROWS_MAX = 200;

function verdictRow(one) {
  const link = node("a", { class: "id", href: to("interaction", one.namespace, one.interaction) },
    `${one.namespace} / ${one.interaction}`);
  return node("li", { "data-entry": String(one.entry) }, badge(one.state), " ", link,
    node("span", { class: "soft" }, ` entry ${one.entry}`));
}

async function home() {
  const status = await ask("/v1/status");
  const rows = node("ul", { class: "rows", id: "verdicts", "aria-live": "polite" });
  const counts = Object.entries(status.states).map(([name, count]) => `${count} ${name.replace("_", " ")}`);
  const from = Math.max(0, status.published - 500);
  return {
    title: status.name,
    parts: [
      facts([["log", status.origin], ["published", `${status.published} entries`],
        ["devices", String(status.devices)], ["interactions", counts.join(", ") || "none yet"]]),
      node("h2", {}, "Verdicts, the newest first"), rows,
    ],
    begin() {
      stream = new EventSource(`/v1/verdicts/events?after=${from}`);
      stream.onopen = () => say("live");
      stream.onerror = () => say("the stream was cut; it comes back by itself");
      stream.addEventListener("verdict", (event) => {
        rows.prepend(verdictRow(JSON.parse(event.data)));
        while (rows.childElementCount > ROWS_MAX) rows.lastElementChild.remove();
      });
    },
  };
}

// --- one interaction: all sides in one line of time ------------------------------------------

async function interaction(namespace, id) {
  const path = ["v1", "interactions", namespace, id];
  const found = await ask(api(...path));
  const { findings: signed, bodies: may } = await ask(api(...path, "findings"));
  const said = may ? await ask(api(...path, "claims")) : null;
  const bodies = new Map((said ? said.claims : []).map((one) => [one.claim, one]));
  const task = [...bodies.values()].map((one) => one.task).find(Boolean);
  const parts = [];
  if (!said) parts.push(node("p", { class: "soft" }, "What the claims say is for readers."));
  else if (said.withheld) parts.push(node("p", { class: "soft" }, `${said.withheld} claims are not for this reader.`));
  for (const one of found.sets) parts.push(...side(one, signed, bodies));
  return { title: task ? `${task} in ${namespace}` : `${namespace} / ${id}`, parts };
}

function side({ summary, claims }, signed, bodies) {
  const ours = signed.filter((one) => one.party_set === summary.party_set);
  const newest = ours.find((one) => one.newest) || ours[ours.length - 1];
  const counted = new Map((newest ? newest.claims : []).map((one) => [one.claim, one]));
  const heading = node("h2", {}, badge(summary.state));
  for (const [role, ids] of Object.entries(summary.parties)) {
    heading.append(` ${role} `);
    ids.forEach((who, at) => heading.append(at ? ", " : "", device(who)));
  }
  const line = node("ol", { class: "timeline" });
  for (const claim of [...claims].sort((a, b) => a.entry - b.entry)) {
    line.append(claimRow(claim, counted.get(claim.claim), bodies.get(claim.claim)));
  }
  for (const gone of newest ? newest.missing : []) {
    line.append(node("li", { class: "check" }, `${gone.role} `, device(gone.device),
      ` has not claimed ${gone.name}: `, badge(gone.absence)));
  }
  for (const check of newest ? newest.checks : []) line.append(checkRow(check));
  const history = ours.map((one) => `${one.state.replace("_", " ")} at entry ${one.entry}, ${time(one.time_ms)}`);
  return [heading, line, facts([["verdicts", history.join("; ") || "none yet"]])];
}

function claimRow(claim, counted, body) {
  const what = body && !body.erased ? `${body.role} ${body.name}`
    : counted && counted.name !== "?" ? `${counted.role} ${counted.name}` : "a claim";
  const row = node("li", {}, node("strong", {}, what), " by ", device(claim.device),
    node("span", { class: "soft" }, ` logged ${time(claim.time_ms)}, entry ${claim.entry}`));
  if (counted) row.append(node("div", { class: "soft" }, `key ${counted.status}, held in ${counted.custody}`));
  if (body && body.erased) row.append(node("div", { class: "soft" }, "Its body was erased; its hash stays."));
  if (body && !body.erased) {
    const rows = Object.entries(body.fields);
    if (body.begin_ms !== null) rows.push(["claimed time", `${time(body.begin_ms)} to ${time(body.end_ms)}`]);
    row.append(facts(rows));
  }
  return row;
}

function checkRow(check) {
  const row = node("li", { class: `check ${kind(check.result)}` },
    node("strong", {}, `${check.check} ${check.name}`), " ", badge(check.result), " ", check.reason);
  if (check.values.length) row.append(facts(check.values.map((one) => [one.field, one.value])));
  if (check.blamed.length) {
    const blamed = node("div", {}, "blamed: ");
    check.blamed.forEach((id, at) => blamed.append(at ? ", " : "", device(id)));
    row.append(blamed);
  }
  return row;
}

// --- one device ------------------------------------------------------------------------------

async function oneDevice(id) {
  const found = await ask(api("v1", "devices", id));
  const verdicts = (await ask(`/v1/verdicts?device=${encodeURIComponent(id)}&limit=50`)).verdicts;
  const parts = [facts([
    ["id", found.id], ["enrolled by", `${found.iss}, as a ${found.subject}`], ["status", badge(found.status)],
    ["records", `${found.decisions} decisions, ${found.claims} claims, ${found.events} events, ${found.halves} accepted halves`],
    ["contradictions", String(found.forks)],
  ])];
  if (found.suspect) parts.push(node("p", { class: "suspect" }, `Suspect: ${found.suspect}`));
  parts.push(node("h2", {}, "Its logs"));
  const logs = node("ul", { class: "rows" });
  for (const log of found.logs) {
    const held = log.complete ? "complete here" : `${log.covered} of ${log.size - log.began} indexes held here`;
    logs.append(node("li", {}, node("span", { class: "id" }, log.epoch),
      ` ${log.size} records from ${log.began}, ${held}, ${log.claims} of ${log.claims_signed} claims` +
      (log.lost_at === null ? "" : `; left at ${log.lost_at}`)));
  }
  parts.push(logs, node("h2", {}, "Its keys"));
  const keys = node("ul", { class: "rows" });
  for (const key of found.keys) {
    keys.append(node("li", {}, node("span", { class: "id" }, brief(key.key)),
      ` ${key.alg}, ${key.status}, held in ${key.custody}`,
      node("div", { class: "soft" }, key.shown.concat(key.not_proven.map((one) => `not proven: ${one}`)).join("; "))));
  }
  parts.push(keys, node("h2", {}, "Verdicts"));
  const rows = node("ul", { class: "rows" });
  rows.append(...verdicts.map(verdictRow).reverse());
  parts.push(rows);
  return { title: `Device ${brief(id)}`, parts };
}

// --- the log ---------------------------------------------------------------------------------

const KINDS = { 4: "checkpoint", 5: "custody receipt", 6: "enrolment", 7: "key change", 10: "verdict",
  11: "profile", 12: "genesis", 17: "time", 18: "claim", 19: "closing", 35: "erasure", 40: "policy" };

async function log() {
  const note = await ask("/v1/checkpoint");
  const [body, signatures = ""] = note.split("\n\n");
  const [origin, size, root] = body.split("\n");
  const names = signatures.split("\n").filter((line) => line.startsWith("— ")).map((line) => line.split(" ")[1]);
  const own = names.filter((name) => name === origin);
  const others = names.filter((name) => name !== origin);
  const start = Math.max(0, Number(size) - 50);
  const page = await ask(`/v1/entries?start=${start}&count=50`);
  const { witnesses } = (await ask("/v1/status")).cosignatures;
  const behind = witnesses.filter((one) => one.behind).map((one) =>
    one.size === null ? `${one.name}, which has cosigned nothing` : `${one.name}, at ${one.size} since ${time(one.time_s * 1000)}`);
  const rows = node("ul", { class: "rows" });
  for (const one of [...page.entries].reverse()) {
    rows.append(node("li", {}, node("strong", {}, `${one.index}`), ` ${KINDS[one.kind] || `kind ${one.kind}`} `,
      node("span", { class: "soft" }, time(one.time_ms)), node("div", { class: "id soft" }, one.leaf)));
  }
  return {
    title: "The log",
    parts: [
      facts([["origin", origin], ["size", size], ["root", node("span", { class: "id" }, root)],
        ["signed by", own.join(", ") || "nobody"], ["cosigned by", others.join(", ") || "nobody yet"],
        ["witnesses behind", behind.join("; ") || (witnesses.length ? "none" : "no witness is configured")]]),
      node("h2", {}, "Its newest entries"), rows,
    ],
  };
}

// --- search ----------------------------------------------------------------------------------

async function search(text) {
  const found = await ask(`/v1/search?q=${encodeURIComponent(text)}`);
  const parts = [];
  if (!found.bodies) parts.push(node("p", { class: "soft" }, "Items stand in claims: to search for them, give a reader's token."));
  const devices = node("ul", { class: "rows" });
  for (const one of found.devices) {
    devices.append(node("li", {}, node("a", { href: to("device", one.id) }, one.tag || brief(one.id)),
      node("span", { class: "soft" }, ` ${one.subject} of ${one.iss} `), node("span", { class: "id" }, one.id)));
  }
  const sets = node("ul", { class: "rows" });
  sets.append(...found.interactions.map(setRow));
  if (found.devices.length) parts.push(node("h2", {}, "Devices"), devices);
  if (found.interactions.length) parts.push(node("h2", {}, "Interactions"), sets);
  if (!found.devices.length && !found.interactions.length) parts.push(node("p", {}, "Nothing is known of it here."));
  return { title: `Search: ${text}`, parts };
}

// --- where we are ----------------------------------------------------------------------------

function say(text) { state.textContent = text; }

async function show() {
  const turn = ++shown;
  if (stream) stream.close();
  stream = null;
  const [where = "", ...parts] = location.hash.replace(/^#\/?/, "").split("/").map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  const pages = {
    "": home, log, search: () => search(parts[0] || ""),
    device: () => oneDevice(parts[0] || ""), interaction: () => interaction(parts[0] || "", parts[1] || ""),
  };
  say("…");
  let page;
  try {
    page = Object.hasOwn(pages, where) ? await pages[where]() : { title: "There is no such page", parts: [] };
  } catch (error) {
    page = { title: "That did not work", parts: [node("p", {}, error.message)] };
  }
  if (turn !== shown) return;
  say("");
  document.title = `${page.title} · tallystick`;
  main.replaceChildren(node("h1", {}, page.title), ...page.parts);
  main.dataset.page = where || "home";
  main.focus({ preventScroll: true });
  if (page.begin) page.begin();
}

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = document.getElementById("q").value.trim();
  if (text) location.hash = to("search", text);
});
document.getElementById("token").addEventListener("change", show);
addEventListener("hashchange", show);
show();
