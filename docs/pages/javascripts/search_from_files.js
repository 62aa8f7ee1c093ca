// A browser starts no worker for a page that is opened from a file: a hidden frame runs the search in its place
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => this.tell(this, window, data);
      const script = inside.document.createElement("script");
      script.src = new URL(url, location.href).href;
      script.onload = () => {
        this.ready = true;
        this.waiting.forEach((data) => this.tell(inside, inside, data));
      };
      script.onerror = () => this.onerror?.(new Event("error"));
      inside.document.head.append(script);
    }
    tell(target, home, data) {
      const event = new home.MessageEvent("message", { data });
      setTimeout(() => {
        target.dispatchEvent(event);
        if (target === this) this.onmessage?.(event);
      });
    }
    postMessage(data) {
      if (this.ready) this.tell(this.frame.contentWindow, this.frame.contentWindow, data);
      else this.waiting.push(data);
    }
    terminate() {
      this.frame.remove();
    }
  };
}
