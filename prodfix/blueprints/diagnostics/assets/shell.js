// Local time, and keys. Everything works without it: times are UTC then, and say so.
"use strict";

// -- times ------------------------------------------------------------------------------------------------------------------

const CLOCK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const AGO = [["min", 60, 3600], ["h", 3600, 48 * 3600], ["days", 86400, 60 * 86400]];

function localTime(at, seconds) {
  const now = new Date();
  const day = at.toDateString() === now.toDateString() ? {} : { day: "numeric", month: "short" };
  if (Math.abs(now - at) > 300 * 86400e3) day.year = "numeric";
  const clock = seconds ? { ...CLOCK, second: "2-digit" } : CLOCK;
  return new Intl.DateTimeFormat(undefined, { ...day, ...clock }).format(at);
}

function ago(at) {
  const passed = Math.max(0, (Date.now() - at) / 1000);
  if (passed < 60) return "just now";
  const found = AGO.find(([, , end]) => passed < end);
  if (!found) return `on ${at.toISOString().slice(0, 10)}`;
  return `${Math.floor(passed / found[1])} ${found[0]} ago`;
}

function tellTimes() {
  for (const one of document.querySelectorAll("time[datetime]")) {
    const at = new Date(one.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const words = one.classList.contains("ago") ? ago(at) : localTime(at, "seconds" in one.dataset);
    if (one.textContent !== words) one.textContent = words;
  }
  tellPlots();
}

/** The times of a plot, each at the beginning of its words: `20:55: 3 timeout`. */
function tellPlots() {
  for (const one of document.querySelectorAll(".plot [data-at]")) {
    const day = "day" in one.dataset ? { weekday: "short" } : {};
    const here = new Intl.DateTimeFormat(undefined, { ...day, ...CLOCK }).format(new Date(one.dataset.at));
    const after = one.textContent.indexOf(": ");
    const words = after < 0 ? here : here + one.textContent.slice(after);
    if (one.textContent === words) continue;
    one.textContent = words;
    one.closest("a")?.setAttribute("aria-label", words);
  }
  for (const one of document.querySelectorAll(".zone")) one.hidden = true; // which says that they are UTC
}

tellTimes();
setInterval(() => document.hidden || tellTimes(), 30_000);
document.addEventListener("visibilitychange", () => document.hidden || tellTimes());
const refreshed = document.getElementById("overview");
if (refreshed) new MutationObserver(tellTimes).observe(refreshed, { childList: true });

// The navigation is one row, which scrolls on a phone: where one is stands in sight.
const row = document.querySelector(".pages");
const current = row?.querySelector("[aria-current]");
if (current) row.scrollLeft = current.offsetLeft - (row.clientWidth - current.offsetWidth) / 2;

// -- keys -------------------------------------------------------------------------------------------------------------------

const KEYS = "prodfix-keys"; // "off": kept in this browser only when somebody has switched them off
const shown = document.getElementById("keys");

function stored() {
  try {
    return localStorage.getItem(KEYS);
  } catch {
    return null; // a browser that keeps nothing for this page
  }
}

function store(on) {
  try {
    if (on) localStorage.removeItem(KEYS);
    else localStorage.setItem(KEYS, "off");
  } catch {
    // then it holds for this page
  }
}

/** What one would open of each entry of the page's lists: its first link. */
function entries() {
  const found = document.querySelectorAll("main .rows > li, main tbody tr, main .cards > li");
  return [...found].map((one) => one.querySelector("a[href]")).filter((one) => one?.checkVisibility());
}

function step(by) {
  const all = entries();
  if (!all.length) return;
  const row = document.activeElement.closest?.("li, tr");
  const here = all.findIndex((one) => one === document.activeElement || (row && row.contains(one)));
  const next = all[here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(here + by, 0), all.length - 1)];
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function search() {
  const input = document.querySelector("main input[type=search]") ?? document.getElementById("search");
  if (!input) return;
  input.focus();
  input.select();
}

function typing(target) {
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

if (shown) {
  const button = document.getElementById("show-keys");
  const box = document.getElementById("keys-on");
  let on = stored() !== "off";
  box.checked = on;
  box.addEventListener("change", () => store((on = box.checked)));
  button.hidden = false;
  button.addEventListener("click", () => shown.showModal());

  const does = { "/": search, j: () => step(1), k: () => step(-1), "?": () => shown.showModal() };
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && event.target.type === "search") return event.target.blur();
    if (!on || shown.open || typing(event.target) || !Object.hasOwn(does, event.key)) return;
    event.preventDefault();
    does[event.key]();
  });
}
