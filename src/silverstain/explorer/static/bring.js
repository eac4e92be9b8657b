/**
 * Graph files that a person brings: from the disk or dropped on the page, they are sent to the server, which keeps them in
 * the folder that is open.
 * @module
 */

/** Send a file. @param {File} file @returns {Promise<string>} the address of its page; an Error says why there is none */
export async function bring(file) {
  const headers = { 'content-type': 'application/octet-stream', 'x-silverstain': '1' };
  const answer = await fetch(`/api/graph?name=${encodeURIComponent(file.name)}`, { method: 'POST', headers, body: file });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ?? `the server answered ${answer.status}`);
  return `/view?graph=${encodeURIComponent(told.graph)}`;
}

/** Whether a file is a graph rather than a story. @param {File} file @param {string} text  how it begins */
export const isGraph = (file, text) => file.name.endsWith('.safetensors') || /"metadata"|"qParams"/.test(text);
