/**
 * A graph in a notebook as a widget (anywidget): the page in a frame of its own, and what is selected and kept there told
 * to Python, and by Python to it.
 * @module
 */

/** @param {{model: {get(name: string): any, set(name: string, value: any): void, save_changes(): void, on(name: string, call: () => void): void, off(name: string, call: () => void): void}, el: HTMLElement}} given */
export function render({ model, el }) {
  const frame = document.createElement('iframe');
  frame.title = 'Silverstain';
  frame.setAttribute('sandbox', 'allow-scripts allow-downloads');
  frame.style.cssText = `width:100%;height:${model.get('height')}px;border:1px solid #8884;border-radius:8px`;
  frame.srcdoc = model.get('page');
  el.append(frame);
  /** @param {MessageEvent} event */
  const heard = ({ source, data }) => {
    if (source !== frame.contentWindow || data?.silverstain !== 'says') return;
    for (const name of ['selection', 'nodes', 'story']) {
      if (name in data && JSON.stringify(data[name]) !== JSON.stringify(model.get(name))) model.set(name, data[name]);
    }
    model.save_changes();
    if (data.isReady) select();
  };
  const select = () => frame.contentWindow?.postMessage({ silverstain: 'select', keys: model.get('selection') }, '*');
  addEventListener('message', heard);
  model.on('change:selection', select);
  return () => {
    removeEventListener('message', heard);
    model.off('change:selection', select);
  };
}

export default { render };
