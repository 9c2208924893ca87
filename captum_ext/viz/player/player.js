"use strict";
(() => {
  const held = JSON.parse(document.getElementById("held").textContent);
  const slider = document.getElementById("step");
  const share = document.getElementById("share");
  const form = document.querySelector("form");
  const n = held.width * held.height;

  const bytes = async (text, steps) => {
    const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const raw = await new Response(plain).arrayBuffer();
    return steps < 256 ? new Uint8Array(raw) : new Uint16Array(raw);
  };
  const chosen = (name) => form.elements[name].value;

  const pixelsOf = async (source) => {
    const picture = new Image();
    picture.src = source;
    await picture.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [held.width, held.height];
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0);
    return new Uint32Array(context.getImageData(0, 0, held.width, held.height).data.buffer);
  };

  const element = (name, attributes, parent) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  };

  const drawCurve = (svg, curve, step) => {
    svg.replaceChildren();
    // Probabilities have a range of their own; other scores that of what was read.
    const unit = Math.min(...curve.y) >= 0 && Math.max(...curve.y) <= 1;
    const low = unit ? 0 : Math.min(...curve.y);
    const high = unit ? 1 : Math.max(...curve.y);
    const at = (k) => [
      24 + 190 * curve.x[k],
      70 - 62 * ((curve.y[k] - low) / (high - low || 1)),
    ];
    element("line", { x1: 24, x2: 214, y1: 70, y2: 70 }, svg);
    element("line", { x1: 24, x2: 24, y1: 8, y2: 70 }, svg);
    const words = (x, y, text, anchor) => {
      element("text", { x, y, "text-anchor": anchor }, svg).textContent = text;
    };
    words(20, 73, low.toPrecision(unit ? 1 : 2), "end");
    words(20, 12, high.toPrecision(unit ? 1 : 2), "end");
    words(24, 81, "0 %", "middle");
    words(214, 81, "100 %", "end");
    const points = curve.x.map((_, k) => at(k));
    element("path", { d: "M" + points.map((p) => p.join(" ")).join("L") }, svg);
    points.forEach(([cx, cy], k) => {
      const here = k === step;
      element("circle", { cx, cy, r: here ? 4 : 1.6, class: here ? "here" : "" }, svg);
    });
  };

  const start = async () => {
    const image = await pixelsOf(held.image);
    const hidden = {};
    for (const [name, picture] of Object.entries(held.absent)) hidden[name] = await pixelsOf(picture);
    const cards = await Promise.all([...document.querySelectorAll(".card")].map(async (card, k) => {
      const canvas = card.querySelector("canvas");
      [canvas.width, canvas.height] = [held.width, held.height];
      const map = held.maps[k];
      const orders = {};
      for (const [name, text] of Object.entries(map.orders)) {
        orders[name] = await bytes(text, map.steps);
      }
      return { card, canvas, map, orders };
    }));
    const draw = () => {
      const step = Number(slider.value);
      const curveName = chosen("curve");
      const order = chosen("order");
      const appear = curveName === "insertion";
      const absent = hidden[curveName] || hidden.insertion;
      for (const { card, canvas, map, orders } of cards) {
        const when = orders[order];
        const made = new Uint32Array(n);
        for (let k = 0; k < n; k++) made[k] = (when[k] <= step) === appear ? image[k] : absent[k];
        const data = new ImageData(new Uint8ClampedArray(made.buffer), held.width, held.height);
        canvas.getContext("2d").putImageData(data, 0, 0);
        const curve = map.curves[curveName + order];
        const percent = (100 * curve.x[step]).toFixed(0);
        share.value = percent + " %";
        slider.setAttribute("aria-valuetext", percent + " % of pixels");
        const said = `${percent} % of pixels ${appear ? "shown" : "hidden"}`;
        const called = map.of ? `${map.label}, ${map.of}` : map.label;
        canvas.setAttribute("aria-label", `${called}, ${said}`);
        const score = document.createElement("b");
        score.textContent = curve.y[step].toFixed(3);
        card.querySelector(".score").replaceChildren(
          score, ` with ${said}; area ${curve.area.toFixed(3)}`);
        drawCurve(card.querySelector("svg"), curve, step);
      }
      document.body.dataset.drawn = `${curveName}${order} ${step}`;
    };
    form.addEventListener("input", draw);
    form.addEventListener("submit", (event) => event.preventDefault());
    draw();
  };
  start();
})();
