"use strict";
(() => {
  const form = document.querySelector(".filters");
  const samples = [...document.querySelectorAll(".sample")].map((element) => ({
    element,
    text: element.textContent.toLowerCase(),
    strength: element.dataset.strength === "" ? 1 : Number(element.dataset.strength),
  }));
  const field = (id) => document.getElementById(id);
  const show = () => {
    const words = field("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { element, text, strength } of samples) {
      const wanted =
        words.every((word) => text.includes(word)) &&
        (!field("fate").value || element.dataset.fate === field("fate").value) &&
        (!field("origin").value || element.dataset.origin === field("origin").value) &&
        strength >= Number(field("strength").value);
      element.hidden = !wanted;
      shown += wanted;
    }
    field("shown").textContent = `${shown} of ${samples.length}`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
