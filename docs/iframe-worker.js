// Browsers start no worker for a page opened from file://, so that there the search runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.body.appendChild(document.createElement("iframe"));
      frame.hidden = true;
      this.inside = frame.contentWindow;
      addEventListener("message", ({ source, data }) => {
        if (source === this.inside) this.dispatchEvent(new MessageEvent("message", { data }));
      });
      this.inside.document.open();
      this.inside.document.write(`<body><script>(${within})()</script><script src="${url}"></script>`);
      this.inside.document.close();
      this.ready = new Promise((done) => (this.inside.onload = done));
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };

  // What a worker finds in its global scope; Material waits for the scripts that it imports.
  const within = () => {
    postMessage = (data) => parent.postMessage(data, "*");
    importScripts = async (...urls) => {
      for (const src of urls)
        await new Promise((onload) =>
          document.body.appendChild(Object.assign(document.createElement("script"), { src, onload })),
        );
    };
  };
}
