"use strict";

const POLL_MS = 5000;
const WATCH_MS = 700; // While a row is queued, its change should be seen.
const ROWS = 7;
const WORDS = { ok: "ok", down: "down", unknown: "unknown" };
const urls = document.body.dataset;
const find = (selector, root = document) => root.querySelector(selector);

function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function paint(name, state, ms, detail) {
  const node = find(`[data-node="${name}"]`);
  node.classList.remove("fresh");
  if (node.dataset.state !== state) node.classList.add("fresh");
  node.dataset.state = state;
  setText(find("[data-state-text]", node), WORDS[state]);
  setText(find("[data-ms]", node), ms === undefined ? "" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`);
  setText(find("[data-detail]", node), detail || "");
}

function fact(name, value) {
  for (const place of document.querySelectorAll(`[data-fact="${name}"]`)) setText(place, String(value));
}

function verdict(state, text, more) {
  const box = find("[data-verdict]");
  box.dataset.verdict = state;
  setText(find("[data-verdict-text]", box), text);
  setText(find("[data-verdict-more]", box), more);
}

const BEHIND = ["database", "redis", "worker", "beat"];
const TITLES = { database: "PostgreSQL", redis: "Redis", worker: "the worker", beat: "beat" };

async function askStatus() {
  const start = performance.now();
  let response;
  try {
    response = await fetch(urls.statusUrl, { cache: "no-store" });
  } catch {
    paint("internet", "down");
    for (const name of ["nginx", "socket", "gunicorn", "django", ...BEHIND]) paint(name, "unknown");
    verdict("down", "No answer.", "the server cannot be reached from here");
    return;
  }
  const server = response.headers.get("Server") || "";
  const viaNginx = /nginx/i.test(server);
  fact("server", server || "not sent");
  paint("internet", "ok");
  paint("nginx", viaNginx ? "ok" : "unknown");

  let body;
  try {
    body = await response.json();
  } catch {
    // Nginx is there and has nobody to pass the request to.
    for (const name of ["socket", "gunicorn", "django"]) paint(name, "down");
    for (const name of BEHIND) paint(name, "unknown");
    verdict("down", "No answer from Gunicorn.", `HTTP ${response.status}`);
    return;
  }
  const roundTrip = performance.now() - start;
  fact("round_trip", `${Math.round(roundTrip)} ms, the checks included`);
  for (const [name, value] of Object.entries(body.request)) fact(name, value);
  paint("socket", body.request.arrived_by === "unix socket" ? "ok" : "unknown");
  paint("gunicorn", "ok");
  paint("django", "ok");
  for (const name of BEHIND) {
    const { ok, ms, detail } = body.checks[name];
    paint(name, ok === null ? "unknown" : ok ? "ok" : "down", ok === null ? undefined : ms, detail);
  }
  if (body.status === "ok") {
    verdict("ok", "All of it works.", `release ${body.release}`);
  } else {
    const names = body.down.map((name) => TITLES[name]).join(" and ");
    verdict("down", `Down: ${names}.`, "the rest still answers");
  }
}

function line(row) {
  const item = document.createElement("li");
  const top = document.createElement("div");
  const what = document.createElement("span");
  what.className = "what";
  what.textContent = `${row.channel === "email" ? "E-mail" : "WhatsApp"} to ${row.recipient || "nobody"}`;
  const badge = document.createElement("span");
  badge.className = "badge";
  badge.dataset.status = row.status;
  badge.textContent = row.status;
  top.append(what, badge);
  const when = document.createElement("p");
  when.className = "when";
  const created = new Date(row.created_at);
  const took = row.sent_at ? `, sent after ${((new Date(row.sent_at) - created) / 1000).toFixed(2)} s` : "";
  when.textContent = `${row.subject}. ${row.error || created.toLocaleTimeString() + took}`;
  item.append(top, when);
  return item;
}

async function askNotifications() {
  try {
    const response = await fetch(urls.notificationsUrl, { cache: "no-store" });
    if (!response.ok) return false;
    const rows = (await response.json()).results.slice(0, ROWS);
    if (rows.length) find("[data-rows]").replaceChildren(...rows.map(line));
    return rows.some((row) => row.status === "queued");
  } catch {
    return false; // The drawing above already says what is wrong.
  }
}

function answer(state, text) {
  const place = find("[data-answer]");
  place.dataset.state = state;
  place.textContent = text;
}

function stored(row) {
  if (row.status === "skipped") return `Notification ${row.id} is skipped: ${row.error}.`;
  return `Stored as notification ${row.id}; the worker takes it from here.`;
}

const ACTIONS = {
  user: { url: urls.usersUrl, extra: {}, done: (row) => `User ${row.username} has number ${row.id}.` },
  email: {
    url: urls.notificationsUrl,
    extra: { channel: "email", body: "Hello from the clinic. If you read this, the whole stack works." },
    done: stored,
  },
  whatsapp: {
    url: urls.notificationsUrl,
    extra: { channel: "whatsapp", body: "Hello from the clinic." },
    done: stored,
  },
};

async function act(event) {
  event.preventDefault();
  const form = event.target;
  const action = ACTIONS[form.dataset.action];
  const button = find("button", form);
  button.disabled = true;
  answer("", "Asking…");
  try {
    const response = await fetch(action.url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...Object.fromEntries(new FormData(form)), ...action.extra }),
    });
    const body = await response.json();
    if (response.ok) {
      answer("ok", action.done(body));
      form.reset();
    } else {
      answer("down", Object.values(body).flat().join(" "));
    }
  } catch {
    answer("down", "The server gave no answer.");
  }
  button.disabled = false;
  for (let turn = 0; turn < 20 && (await askNotifications()); turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
  }
}

for (const form of document.querySelectorAll("form")) form.addEventListener("submit", act);

async function poll() {
  // A hidden tab asks nothing: each question costs the worker a task.
  if (!document.hidden) await Promise.all([askStatus(), askNotifications()]);
  setTimeout(poll, POLL_MS);
}
poll();
