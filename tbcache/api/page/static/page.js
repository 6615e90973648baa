// Says how old what is shown is, and greys it out where nothing new comes. Without this file the page is whole all the same.
"use strict";
(() => {
  const OLD_MS = 5000;
  let seen = performance.now(), full = "";
  const fresh = () => { seen = performance.now(); full = ""; };
  const note = text => {
    const place = document.getElementById("age");
    if (place && place.textContent !== text) place.textContent = text;
  };
  document.addEventListener("htmx:sse:after:message", event => {
    const message = event.detail.message;
    if (message.event === "full") full = message.data;
    else fresh();
  });
  document.addEventListener("visibilitychange", fresh);
  // A page whose head alone changes says how old the rest of it is.
  const dated = document.querySelector("#dated");
  const say = minutes => {
    dated.className = "wrong";
    dated.firstChild.textContent = `${minutes} min old. `;
  };
  setInterval(() => {
    const minutes = Math.floor(performance.now() / 60000);
    if (dated && minutes) say(minutes);
    const old = performance.now() - seen;
    document.documentElement.classList.toggle("old", old > OLD_MS);
    note(full || (old > OLD_MS ? `nothing new for ${Math.round(old / 1000)} s: is the server there?` : ""));
  }, 500);
})();
