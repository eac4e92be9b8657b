/* Search works in pages opened from files, where a browser starts no worker from a script: an iframe takes its place.

   The theme asks for `new Worker(url)`, sends it messages and hears its answers; here the script runs in a hidden
   document of its own, whose `postMessage` answers to the page. */
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.onmessage = null;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html><html><head></head><body></body></html>";
      this.frame.addEventListener("load", () => this.start(String(url)), { once: true });
      document.body.appendChild(this.frame);
    }

    start(url) {
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      };
      inside.importScripts = (...urls) => Promise.all(urls.map((one) => this.load(one)));
      inside.__index = window.__index;
      this.load(url).then(() => {
        this.started = true;
        this.waiting.splice(0).forEach((data) => this.postMessage(data));
      });
    }

    load(url) {
      return new Promise((done, failed) => {
        const script = this.frame.contentDocument.createElement("script");
        script.src = url;
        script.onload = done;
        script.onerror = failed;
        this.frame.contentDocument.head.appendChild(script);
      });
    }

    postMessage(data) {
      if (!this.started) {
        this.waiting.push(data);
        return;
      }
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
