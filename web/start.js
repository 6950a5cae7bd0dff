// The first script, for browsers of any age: a plain script in old words. It loads main.js where the page can run, and says
// why where it cannot. Before it has run, and where no script may, index.html speaks for itself.
//
// In: the document. Out: main.js beside this file is loaded, or #load says what is missing and data-state is "failed".
(function () {
  "use strict";

  /** The least modules with a vector instruction, and with a table of references. */
  var HEAD = [0, 97, 115, 109, 1, 0, 0, 0];
  var VECTORS = [1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];
  var REFERENCES = [4, 4, 1, 111, 0, 0];

  function understands(section) {
    return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(HEAD.concat(section)));
  }

  /** Browsers ask for the kind of a worker only where they know more than one. */
  function hasModuleWorkers() {
    var asked = false, address = URL.createObjectURL(new Blob([""], { type: "text/javascript" }));
    try {
      new Worker(address, { get type() { asked = true; return "classic"; } }).terminate();
    } catch (error) {
      return false;
    } finally {
      URL.revokeObjectURL(address);
    }
    return asked;
  }

  /** What the page cannot do without, each in words for visitors and as a test. */
  var NEEDED = [
    ["scripts that come in modules", function () { return "noModule" in document.createElement("script"); }],
    ["programs in WebAssembly", function () { return understands([]); }],
    ["vector instructions of WebAssembly (SIMD)", function () { return understands(VECTORS); }],
    ["references of WebAssembly", function () { return understands(REFERENCES); }],
    ["background workers that load modules", hasModuleWorkers],
    ["unpacking of compressed data (DecompressionStream)", function () {
      return typeof DecompressionStream === "function" && typeof TransformStream === "function";
    }],
    ["compiling while loading", function () { return typeof WebAssembly === "object" && "compileStreaming" in WebAssembly; }],
    ["the JavaScript of 2022", function () { return "at" in Array.prototype && "replaceAll" in String.prototype; }],
    ["news of changed sizes (ResizeObserver)", function () { return typeof ResizeObserver === "function"; }]
  ];

  function byId(id) { return document.getElementById(id); }

  /** Whether main.js has not taken over yet. */
  function isFirst() { return byId("not-started") !== null; }

  /** Says that the page will not start; nothing on it would work. */
  function refuse(sentence, again) {
    byId("not-started").parentNode.removeChild(byId("not-started"));
    document.documentElement.setAttribute("data-state", "failed");
    byId("load").className = "failed";
    byId("load-phase").textContent = sentence;
    document.querySelector(".bar-row").hidden = document.querySelector(".columns").hidden = true;
    if (!again) return;
    byId("retry").hidden = false;
    byId("retry").onclick = function () { location.reload(); };
  }

  function missing() {
    var words = [];
    for (var i = 0; i < NEEDED.length; i++) {
      var there = false;
      try { there = NEEDED[i][1](); } catch (error) { /* Then it is not there. */ }
      if (!there) words.push(NEEDED[i][0]);
    }
    return words;
  }

  if (location.protocol === "file:") {
    return refuse("This page was opened as a file, and browsers load no program from files. It has to be served: run ./build.sh serve " +
      "and open the address that it prints, or put the folder on any web server.");
  }
  var lacks = missing();
  if (lacks.length > 0) {
    return refuse("This browser cannot run the page. It is too old, or something is switched off, as some browsers do for more security. " +
      "The page needs: " + lacks.join("; ") + ". Current versions of Chrome, Edge, Firefox and Safari have all of it.");
  }

  window.addEventListener("error", function (event) {
    if (!isFirst() || !event.message) return;
    refuse("The page's program stopped as it started (" + event.message + "). A current browser may do better.", true);
  });
  var main = document.createElement("script");
  main.type = "module";
  main.src = document.querySelector("script[src$='start.js']").src.replace(/start\.js$/, "main.js");
  main.onerror = function () {
    if (!isFirst()) return;
    if (window.origin === "null") {
      refuse("This page is shown in a frame that hides where it comes from (a sandbox without allow-same-origin), so the browser does " +
        "not let it load its program. Open it in a window of its own.");
    } else {
      refuse("The page's program could not be loaded. Either the connection is gone, or a newer version of the page has just been put " +
        "up.", true);
    }
  };
  document.head.appendChild(main);
})();
