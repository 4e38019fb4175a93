"""Nodes of BitTorrent's DHT on this machine alone, unmodified libtorrent, driven by JSON lines.

In:  {"id": 1, "do": "start", ...}
Out: {"id": 1, "ok": ...} or {"id": 1, "error": "sentence"}, in order.

Infohashes, targets and keys are hexadecimal; addresses are "host:port".
"""

import hashlib
import json
import sys
import time

import libtorrent as lt

PATIENCE_S = 30
sessions = {}


def start(dht, bootstrap):
    """Returns the address of a node, once it knows somebody, or at once if there is nobody to know."""
    session = lt.session({
        "listen_interfaces": "127.0.0.1:0",
        "enable_dht": True,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        # One host has all addresses here.
        "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False,
        "dht_enforce_node_id": False,
        "dht_prefer_verified_node_ids": False,
        "dht_ignore_dark_internet": False,
        "dht_bootstrap_nodes": ",".join(bootstrap),
        "alert_mask": int(lt.alert.category_t.all_categories),
    })
    sessions[dht] = session
    if bootstrap:
        wait(session, lt.dht_bootstrap_alert)
    return "127.0.0.1:%d" % session.listen_port()


def neighbours(dht):
    """Returns how many nodes it knows."""
    session = sessions[dht]
    state = lt.write_session_params_buf(session.session_state())
    return len(lt.bdecode(state).get(b"dht state", {}).get(b"nodes", b"")) // 26


def announce(dht, infohash, port):
    """Begins to announce a port."""
    sessions[dht].dht_announce(lt.sha1_hash(bytes.fromhex(infohash)), port, 0)


def lookup(dht, infohash):
    """Returns the peers of an infohash as ["host:port"], sorted."""
    session = sessions[dht]
    session.dht_get_peers(lt.sha1_hash(bytes.fromhex(infohash)))
    found, until = set(), time.monotonic() + 5
    while time.monotonic() < until:
        session.wait_for_alert(200)
        for alert in session.pop_alerts():
            if isinstance(alert, lt.dht_get_peers_reply_alert) and str(alert.info_hash) == infohash:
                found.update("%s:%d" % peer for peer in alert.peers())
                # What other nodes know comes at once or not at all on one machine.
                until = min(until, time.monotonic() + 0.5)
    return sorted(found)


def put_immutable(dht, text):
    """Returns the target, once nodes have stored the bytes."""
    session = sessions[dht]
    target = session.dht_put_immutable_item(text.encode())
    wait(session, lt.dht_put_alert)
    return str(target)


def put_mutable(dht, seed, key, text):
    """Stores text under a key, whose seed is hexadecimal, with the next number."""
    scalar = bytearray(hashlib.sha512(bytes.fromhex(seed)).digest())
    scalar[0] &= 248
    scalar[31] = scalar[31] & 63 | 64
    sessions[dht].dht_put_mutable_item(bytes(scalar), bytes.fromhex(key), text.encode(), b"")
    put = wait(sessions[dht], lt.dht_put_alert)
    return put.num_success


def get_immutable(dht, target):
    """Returns the text stored under a target, or null."""
    session = sessions[dht]
    session.dht_get_immutable_item(lt.sha1_hash(bytes.fromhex(target)))
    found = wait(session, lt.dht_immutable_item_alert)
    return told(found.item)


def get_mutable(dht, key):
    """Returns what is stored under a key with its number, or null."""
    session = sessions[dht]
    session.dht_get_mutable_item(bytes.fromhex(key), b"")
    found = wait(session, lt.dht_mutable_item_alert, lambda alert: alert.authoritative)
    text = told(found.item)
    return None if text is None else {"seq": found.seq, "text": text}


def told(item):
    """Returns a value's text, or None if there is none."""
    value = item.get("value", item) if isinstance(item, dict) else item
    return value.decode() if isinstance(value, bytes) and value else None


def wait(session, kind, wanted=lambda alert: True):
    """Returns the first alert of a kind that is wanted."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        session.wait_for_alert(200)
        for alert in session.pop_alerts():
            if isinstance(alert, kind) and wanted(alert):
                return alert
    raise RuntimeError("libtorrent tells nothing")


VERBS = {verb.__name__: verb for verb in
         [start, neighbours, announce, lookup, put_immutable, put_mutable, get_immutable, get_mutable]}

for line in sys.stdin:
    command = json.loads(line)
    number, verb = command.pop("id"), command.pop("do")
    try:
        answer = {"id": number, "ok": VERBS[verb](**command)}
    except Exception as error:
        answer = {"id": number, "error": repr(error)}
    print(json.dumps(answer), flush=True)
