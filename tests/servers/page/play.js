"use strict";
// A publisher's page: plays what it is told with hls.js, dash.js or the browser alone, and says what became of it.

// Little, so that there is something left to fetch in mid-play and again after a jump.
const AHEAD_S = 6;
const BEHIND_S = 2;
const RETRY_MS = 150;

const video = document.getElementById("video");
const said = document.getElementById("said");
let failure = "";

function fail(status, reason) {
  failure ||= `${status || "no answer"} ${reason || ""}`.trim();
  said.textContent = `Cannot play: ${failure}`;
}

const players = {
  hls(url, { withCredentials, headers, retries }) {
    const retry = { maxNumRetry: retries, retryDelayMs: RETRY_MS, maxRetryDelayMs: RETRY_MS };
    const policy = {
      default: { maxTimeToFirstByteMs: 5000, maxLoadTimeMs: 10000, timeoutRetry: retry, errorRetry: retry },
    };
    const hls = new Hls({
      maxBufferLength: AHEAD_S,
      maxMaxBufferLength: AHEAD_S,
      backBufferLength: BEHIND_S,
      fragLoadPolicy: policy,
      xhrSetup: (xhr, to) => {
        xhr.withCredentials = withCredentials;
        xhr.open("GET", to);
        for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
      },
    });
    hls.on(Hls.Events.ERROR, (_, error) => {
      if (error.fatal) fail(error.response?.code, error.networkDetails?.getResponseHeader?.("X-Usher-Reason"));
    });
    hls.loadSource(url);
    hls.attachMedia(video);
  },

  dash(url, { withCredentials, retries }) {
    const dash = dashjs.MediaPlayer().create();
    dash.updateSettings({
      streaming: {
        buffer: { bufferTimeDefault: AHEAD_S, bufferTimeAtTopQuality: AHEAD_S, bufferToKeep: BEHIND_S },
        retryAttempts: { MediaSegment: retries },
        retryIntervals: { MPD: RETRY_MS, InitializationSegment: RETRY_MS, MediaSegment: RETRY_MS },
      },
    });
    dash.setXHRWithCredentialsForType(null, withCredentials);
    dash.on("error", ({ error }) => {
      const answer = error.data?.response;
      fail(answer?.status, answer?.headers?.["x-usher-reason"]);
    });
    dash.initialize(video, url, false);
  },

  // No player: a film, which a browser fetches in ranges.
  none(url) {
    video.addEventListener("error", () => fail(0, video.error.message));
    video.src = url;
  },
};

function load(script) {
  return new Promise((loaded, failed) => {
    document.head.append(Object.assign(document.createElement("script"), { src: script, onload: loaded, onerror: failed }));
  });
}

async function play({ player, url, rate, ...how }) {
  if (player !== "none") await load(`/players/${player}.js`);
  players[player](url, how);
  // Whoever loads a source sets the rate to this.
  video.defaultPlaybackRate = video.playbackRate = rate;
  video.addEventListener("loadedmetadata", () => { video.playbackRate = rate; });
  video.play().catch((error) => { if (error.name !== "AbortError") fail(0, error.message); });
}

// How many colours the picture has: of none, of a black one, and of one that the browser does not let a page see, one.
function colours() {
  const canvas = new OffscreenCanvas(16, 9);
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 16, 9);
  try {
    const { data } = context.getImageData(0, 0, 16, 9);
    return new Set(new Uint32Array(data.buffer)).size;
  } catch {
    return 1;
  }
}

function look() {
  const ranges = (of) => Array.from({ length: of.length }, (_, at) => [of.start(at), of.end(at)]);
  return {
    failure,
    said: said.textContent,
    time_s: video.currentTime,
    is_waiting: video.readyState <= HTMLMediaElement.HAVE_CURRENT_DATA && !video.ended,
    frames: video.getVideoPlaybackQuality().totalVideoFrames,
    colours: video.readyState >= 2 ? colours() : 1,
    played: ranges(video.played),
    buffered: ranges(video.buffered),
  };
}
