"use strict";
// The study page without its viewer: review by key, images and studies by key. The form works without this script.
(() => {
  const form = document.getElementById("review-form");
  const note = document.getElementById("review-note");
  const history = document.getElementById("history");
  const WORDS = { accept: ["●", "Accepted"], reject: ["⊘", "Rejected"], comment: ["✎", "Commented"] };
  const STATES = { unreviewed: ["○", "Not reviewed"], accepted: ["●", "Accepted"], rejected: ["⊘", "Rejected"], mixed: ["◐", "Mixed"] };

  const tell = (words, bad) => {
    note.textContent = words;
    note.className = `notice ${bad ? "bad" : "good"}`;
    note.hidden = false;
  };
  const make = (tag, name, ...children) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    made.append(...children);
    return made;
  };
  const signed = ([symbol, words]) => {
    const mark = make("span", "", symbol);
    mark.setAttribute("aria-hidden", "true");
    return [mark, ` ${words}`];
  };
  const moment = (text) => `${text.slice(0, 10)} ${text.slice(11, 16)} UTC`;

  const enter = (made) => {
    const about = form.elements.image?.value ? form.elements.image.selectedOptions[0].textContent : "whole study";
    const [symbol, words] = WORDS[made.decision];
    const line = make("p", "", ...signed([symbol, ""]), make("b", "", words), ` by ${made.who}`, make("span", "sub", `${moment(made.when)} · ${about}`));
    const entry = make("li", made.decision, line);
    if (made.comment) entry.append(make("p", "said", made.comment));
    history.prepend(entry);
    const state = document.getElementById("review-state");
    state.className = `state ${made.state}`;
    state.replaceChildren(...signed(STATES[made.state]));
  };

  let busy = false;
  const save = async (decision) => {
    if (busy) return;
    const who = form.elements.who;
    if (who && !who.value.trim()) { who.focus(); tell("Enter your name first.", true); return; }
    if (decision === "comment" && !form.elements.comment.value.trim()) { form.elements.comment.focus(); return; }
    busy = true;
    const buttons = form.querySelectorAll("button");
    buttons.forEach((button) => { button.disabled = true; });
    try {
      const made = await kit.post(`/api/studies/${form.dataset.key}/reviews`, {
        decision, comment: form.elements.comment.value, image: form.elements.image?.value || null, who: who?.value ?? "",
      });
      enter(made);
      form.elements.comment.value = "";
      form.elements.comment.blur();
      tell({ accept: "Saved: you accepted the result.", reject: "Saved: you rejected the result.", comment: "Saved: your comment." }[decision]
        + (made.report ? ` ${made.report}` : ""), Boolean(made.report));
    } catch (error) {
      tell(error.message, true);
    } finally {
      busy = false;
      buttons.forEach((button) => { button.disabled = false; });
    }
  };
  // Who may not decide has no form.
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    save(event.submitter?.value ?? "comment");
  });
  form?.elements.comment.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); save("comment"); }
  });

  const follow = (selector) => () => document.querySelector(selector)?.click();
  const image = (by) => () => {
    const tabs = [...document.querySelectorAll(".tab")];
    tabs[tabs.findIndex((tab) => tab.hasAttribute("aria-current")) + by]?.click();
  };
  if (form) Object.assign(kit.keys, {
    a: () => save("accept"), r: () => save("reject"),
    c: () => { form.elements.comment.focus(); form.scrollIntoView({ block: "nearest" }); },
  });
  Object.assign(kit.keys, {
    n: follow(".study-head a[rel=next]"), p: follow(".study-head a[rel=prev]"), u: follow(".crumbs a"),
    "]": image(1), "[": image(-1),
  });
  for (let number = 1; number <= 9; number += 1) kit.keys[number] = follow(`[data-finding="${number - 1}"]`);
})();
