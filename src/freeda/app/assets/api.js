// Calls of the server; what fails throws an Error whose message is one line for people, and whose status is HTTP's.
const encode = (body) => (body === undefined || body instanceof FormData
  ? { body } : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } });

export async function request(method, path, body, signal) {
  let answer;
  try {
    answer = await fetch('api/' + path, { method, signal, cache: 'no-store', ...encode(body) });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw Object.assign(new Error('no answer: is freeda app still running?'), { status: 0 });
  }
  if (answer.ok) return answer;
  const { detail } = await answer.json().catch(() => ({}));
  const line = typeof detail === 'string' ? detail : `the server answers ${answer.status} ${answer.statusText}`;
  throw Object.assign(new Error(line), { status: answer.status });
}

export const call = async (...asked) => (await request(...asked)).json();

export const pause = (seconds, signal) => new Promise((done, fail) => {
  const timer = setTimeout(done, 1000 * seconds);
  signal?.addEventListener('abort', () => { clearTimeout(timer); fail(signal.reason); }, { once: true });
});
