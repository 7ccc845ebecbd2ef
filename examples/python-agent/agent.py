#!/usr/bin/env python3
"""An agent of the tunnel protocol in one file, for Python 3.9 and paho-mqtt 1.6 (Debian: python3-paho-mqtt).

Written from docs/tunnel-protocol.md alone; the numbers in comments are its sections. One thread does it all.

    agent.py --broker broker.example --id pi7 --service ssh=127.0.0.1:22 --service web=localhost:80
"""
import argparse
import errno
import json
import re
import select
import signal
import socket
import struct
import time
from collections import OrderedDict, namedtuple
from datetime import datetime, timezone

import paho.mqtt.client as mqtt

OPEN, ACCEPT, DATA, ACK, RESUME, RESET, PING, PONG = range(1, 9)  # 4.3
FIN, GAP = 1, 2  # 4.1
FLAGS = {DATA: FIN, ACK: FIN | GAP, RESUME: FIN}
REFUSED, UNREACHABLE, TIMEOUT, UNKNOWN_SERVICE = 1, 2, 3, 4  # 8.8
UNKNOWN_STREAM, LIMIT, PROTOCOL, SHUTDOWN, TCP_RESET = 7, 8, 10, 12, 14
HEADER, CHUNK, INITIAL_CREDIT, WINDOW, LEAST_FLIGHT = 24, 32_768, 65_536, 1 << 20, 65_536
FIRST_FLIGHT, MAX_STREAMS, MAX_ENDED = 262_144, 400, 65_536
DIAL_S, ACK_S, PING_S, PING_AGAIN_S, RESUME_TIMEOUT_S = 10, 0.02, 30, 8, 120
NAME = re.compile(r'[A-Za-z0-9._-]{1,64}')

Frame = namedtuple('Frame', 'type flags stream offset acked limit payload')


class Fault(Exception):
    """A message that is no frame (4.5)."""


def encode(type, flags, stream, offset=0, acked=0, limit=0, payload=b''):
    places = b''.join(place.to_bytes(6, 'big') for place in (offset, acked, limit))
    return struct.pack('>BBI', type, flags, stream) + places + payload


def decode(message, sender='client'):
    if len(message) < HEADER:
        raise Fault('too short')
    type, flags, stream = struct.unpack_from('>BBI', message)
    offset, acked, limit = (int.from_bytes(message[at:at + 6], 'big') for at in (6, 12, 18))
    if not OPEN <= type <= PONG or type == (OPEN if sender == 'agent' else ACCEPT):
        raise Fault(f'type {type} from {sender}')
    if flags & ~FLAGS.get(type, 0):
        raise Fault(f'flags {flags}')
    least, most = {OPEN: (1, 2048), DATA: (0 if flags else 1, 65_536), RESET: (2, 514)}.get(type, (0, 0))
    if type == ACK and flags & GAP:
        least = most = 6
    if not least <= len(message) - HEADER <= most:
        raise Fault(f'payload of {len(message) - HEADER} bytes')
    return Frame(type, flags, stream, offset, acked, limit, bytes(message[HEADER:]))


def decode_open(payload):
    """The token of an OPEN (5.1)."""
    try:
        body = json.loads(payload)
        if body['v'] == 1 and re.fullmatch('[0-9a-f]{16}', body['token']):
            return body['token']
    except (ValueError, TypeError, KeyError):
        pass
    raise Fault('no OPEN of version 1')


def parse_topic(topic, prefix):
    """Agent, service, client and direction; None: not a topic of frames (2.1)."""
    parts = tuple(topic[len(prefix) + 1:].split('/'))
    is_name = len(parts) == 4 and all(NAME.fullmatch(part) for part in parts[:3])
    return parts if is_name and topic.startswith(prefix + '/') and parts[3] in ('up', 'down') else None


def decode_reset(payload):
    return int.from_bytes(payload[:2], 'big'), payload[2:].decode('utf-8', 'replace')


class Stream:
    """One TCP connection to a target."""

    def __init__(self, agent, topic, id, token, credit):
        self.agent, self.key, self.token, self.is_open = agent, (topic, id), token, False
        # Sending. `base` is acknowledged, `next` goes out next, `highest` went out, `total` was read from the socket;
        # `buffer` holds the bytes from base to total. Behind total comes the FIN, when the socket has given its end.
        self.base = self.next = self.highest = self.total = 0
        self.buffer, self.eof, self.credit = bytearray(), False, credit
        self.flight, self.loss_until, self.gap_base = FIRST_FLIGHT, 0, -1  # 7.5, 7.4
        self.retry_s, self.retry_at, self.resumed = 1, None, False
        # Receiving. `waiting` goes to the socket, `early` came behind a gap, `end` is where the client's FIN is.
        self.waiting, self.early, self.received, self.handed_on, self.end = bytearray(), {}, 0, 0, None
        self.is_shut, self.ack_at, self.told_limit = False, None, INITIAL_CREDIT
        self.born = self.heard = time.monotonic()
        self.asked, self.pinged = None, 0

    def dial(self, address):
        family, kind, _, _, where = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        self.sock = socket.socket(family, kind)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = self.sock.connect_ex(where)
        if error not in (0, errno.EINPROGRESS):
            self.refuse(error)

    def refuse(self, error):
        code = {errno.ECONNREFUSED: REFUSED, errno.ETIMEDOUT: TIMEOUT}.get(error, UNREACHABLE)
        self.reset(code, errno.errorcode.get(error, str(error)))

    # --- frames of ours

    @property
    def limit(self):
        return max(INITIAL_CREDIT, self.handed_on + WINDOW if self.is_open else 0)  # 5.3, 6.3

    def send(self, type, flags=0, offset=None, payload=b''):
        offset = self.highest if offset is None else offset
        if type in (ACK, RESUME) and self.highest > self.total:
            flags |= FIN
        if not self.agent.send(self.key[0], encode(type, flags, self.key[1], offset, self.received, self.limit, payload)):
            return
        self.ack_at, self.told_limit = None, self.limit
        if type in (DATA, RESUME, PING):
            self.asked = self.asked or time.monotonic()

    def acknowledge(self):
        if self.is_open and self.early:
            self.send(ACK, GAP, payload=min(self.early).to_bytes(6, 'big'))  # 7.4
        elif self.is_open:
            self.send(ACK)

    def send_piece(self, at, size):
        is_last = self.eof and at + size == self.total
        self.send(DATA, FIN if is_last else 0, at, bytes(self.buffer[at - self.base:at - self.base + size]))
        return at + size + is_last

    def pump(self):
        """Sends one DATA; False: there is nothing to send now."""
        size = min(CHUNK, self.total - self.next, self.credit - self.next, self.base + self.flight - self.next)
        is_fin_alone = self.eof and self.next == self.total  # FIN needs no credit: 4.6
        if not self.is_open or size <= 0 and not is_fin_alone:
            return False
        self.next = self.send_piece(self.next, max(size, 0))
        self.highest = max(self.highest, self.next)
        return True

    def lost(self):
        """7.5: once for what was on its way then."""
        if self.base >= self.loss_until:
            self.flight, self.loss_until = max(LEAST_FLIGHT, self.flight // 2), self.highest

    def tick(self, now):
        """Whatever is due."""
        if not self.is_open and now - self.born > DIAL_S:
            return self.reset(TIMEOUT, 'the target does not answer')
        if self.asked and now - self.asked > RESUME_TIMEOUT_S:
            return self.reset(TIMEOUT, 'nothing was heard')  # 8.6
        if self.ack_at and now >= self.ack_at:
            self.acknowledge()
        if self.is_open and now > max(self.heard + PING_S, self.pinged + PING_AGAIN_S):
            self.pinged = now
            self.send(PING)
        is_unacked = self.base < self.highest
        is_starved = not is_unacked and self.next < self.total and self.credit <= self.next
        if not (is_unacked or is_starved) or not self.agent.has_room:
            self.retry_at = None  # 7.3: the time does not run while the connection takes nothing
        elif self.retry_at is None:
            self.retry_at = now + self.retry_s
        elif now >= self.retry_at:
            self.retry_s, self.retry_at = min(8, 2 * self.retry_s), None
            if is_starved:
                return self.send(RESUME)  # 6.4
            self.lost()
            self.next = self.base

    # --- frames of the client

    def receive(self, frame):
        self.heard, self.asked = time.monotonic(), None
        if frame.acked > self.highest:
            return self.reset(PROTOCOL, 'acknowledges what was not sent')  # 6.5
        self.credit = max(self.credit, frame.limit)
        is_old, progress = frame.acked < self.base, max(0, frame.acked - self.base)
        if progress:
            del self.buffer[:progress]
            self.base = frame.acked
            self.next, self.flight = max(self.next, self.base), min(8 * WINDOW, self.flight + progress)
            self.retry_s, self.retry_at = 1, None
        if frame.flags & FIN and not self.take_end(frame) or frame.type == DATA and not self.take(frame):
            return self.reset(PROTOCOL, 'bytes beyond the credit or the end')  # 6.2
        if frame.type == ACK and self.resumed:
            self.resumed, self.next = False, self.base  # 8.2
        elif frame.type == ACK and frame.flags & GAP and not is_old and self.gap_base != self.base:
            self.fill_gap(int.from_bytes(frame.payload, 'big'))
        elif frame.type == RESUME:
            self.next = self.next if is_old else self.base  # 8.2
            self.acknowledge()
        elif frame.type == PING:
            self.send(PONG, offset=frame.offset)
        self.settle()

    def take_end(self, frame):
        end = frame.offset + len(frame.payload) if frame.type == DATA else frame.offset - 1
        if self.end not in (None, end):
            return False
        self.end = end
        return True

    def take(self, frame):
        behind = frame.offset + len(frame.payload)
        if behind > self.told_limit or self.end is not None and behind > self.end:
            return False
        was = self.received
        if frame.offset <= was or sum(map(len, self.early.values())) < WINDOW:
            if len(frame.payload) > len(self.early.get(frame.offset, b'')) and behind > was:
                self.early[frame.offset] = frame.payload
        while self.early and min(self.early) <= self.received:
            at = min(self.early)
            piece = self.early.pop(at)[self.received - at:]
            self.waiting += piece
            self.received += len(piece)
        if self.received == self.end:
            self.received += 1
        self.ack_at = self.ack_at or self.heard + ACK_S
        if self.early or frame.flags & FIN or self.received == was:
            self.acknowledge()  # 7.1: a gap, FIN, a duplicate
        return True

    def fill_gap(self, until):
        """7.4"""
        self.gap_base, at = self.base, self.base
        self.lost()
        while at < min(until, self.highest, self.total):
            at = self.send_piece(at, min(CHUNK, until - at, self.highest - at, self.total - at))

    # --- the socket

    def readable(self):
        try:
            data = self.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as problem:
            return self.reset(TCP_RESET, str(problem))  # 8.7
        self.buffer += data
        self.total += len(data)
        self.eof = not data

    def writable(self):
        if not self.is_open:
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                return self.refuse(error)
            self.is_open = True
            self.send(ACCEPT)  # 5.4
        try:
            count = self.sock.send(self.waiting) if self.waiting else 0
        except BlockingIOError:
            return
        except OSError as problem:
            return self.reset(TCP_RESET, str(problem))
        del self.waiting[:count]
        self.handed_on += count
        self.ack_at = self.ack_at or time.monotonic() + ACK_S
        if self.limit - self.told_limit >= WINDOW // 4:
            self.acknowledge()  # 7.1
        self.settle()

    def settle(self):
        """Passes the client's FIN on behind its bytes, and ends when both directions have (8.3)."""
        if not self.is_open or self.waiting or self.end is None or self.received <= self.end:
            return
        if not self.is_shut:
            self.is_shut = True
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the target is gone: reading says so
        if self.eof and self.base > self.total:
            self.acknowledge()
            self.agent.remember(self, encode(ACK, FIN, self.key[1], self.base, self.received, self.limit), 'closed')
            self.sock.close()

    def abort(self, answer, reason):
        """Ends it, with a TCP reset of the target's connection (8.7)."""
        self.agent.remember(self, answer, reason)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()

    def reset(self, code, reason):
        self.abort(self.agent.send_reset(*self.key, code, reason), reason)


class Agent:
    def __init__(self, options, services):
        self.id, self.prefix, self.services = options.id, options.topic_prefix, services
        self.streams, self.ended = {}, OrderedDict()  # by topic of the answers and stream id
        self.is_ready, self.since = False, ''
        self.status_topic = f'{self.prefix}/{self.id}/status'
        self.client = client = mqtt.Client(client_id=options.id, clean_session=True)
        if options.username is not None:
            client.username_pw_set(options.username, options.password)
        client.will_set(self.status_topic, '{"online":false}', retain=True)  # 3.2
        client.on_connect, client.on_disconnect, client.on_subscribe = self.connected, self.disconnected, self.subscribed
        client.on_message = self.on_message
        client.connect_async(options.broker, options.port, keepalive=20)

    # --- the connection

    def connected(self, client, _data, _flags, code):
        if code != 0:
            return print('refused:', mqtt.connack_string(code), flush=True)
        self.since = datetime.now(timezone.utc).isoformat(timespec='milliseconds').replace('+00:00', 'Z')
        client.subscribe(f'{self.prefix}/{self.id}/+/+/up')  # 2.1

    def subscribed(self, _client, _data, _id, granted):
        if granted[0] > 2:
            raise SystemExit('the broker refuses the subscription')
        self.is_ready = True
        for stream in list(self.streams.values()):
            if stream.is_open:
                stream.resumed = True
                stream.send(RESUME)  # 8.1
        self.publish_status(online=True, services=list(self.services), protocol=1, version='agent.py',
                            host=socket.gethostname(), since=self.since)
        print('ready', flush=True)

    def publish_status(self, **status):
        self.client.publish(self.status_topic, json.dumps(status), retain=True)  # 3.1

    def disconnected(self, _client, _data, _code):
        self.is_ready = False
        for stream in self.streams.values():
            stream.asked = stream.asked or time.monotonic()  # 8.6

    @property
    def has_room(self):
        return self.is_ready and not self.client.want_write()

    def send(self, topic, frame):
        if self.is_ready:
            self.client.publish(topic, frame)
        return self.is_ready

    def send_reset(self, topic, id, code, reason):
        frame = encode(RESET, 0, id, payload=code.to_bytes(2, 'big') + reason.encode()[:512])
        self.send(topic, frame)
        return frame

    # --- streams

    def on_message(self, _client, _data, message):
        if not message.retain:  # 2.4
            self.receive(message.topic, message.payload)

    def receive(self, topic, message):
        parts = parse_topic(topic, self.prefix)
        if not parts or parts[3] != 'up':
            return
        answers = f'{topic[:-2]}down'
        id = struct.unpack_from('>I', message, 2)[0] if len(message) >= 6 else 0
        key = (answers, id)
        stream = self.streams.get(key)
        try:
            frame = decode(message)
            token = decode_open(frame.payload) if frame.type == OPEN else None
        except Fault as fault:
            if message[:1] == bytes([RESET]) or len(message) < 6:
                return  # RESET is never answered: 4.5
            return stream.reset(PROTOCOL, str(fault)) if stream else self.send_reset(answers, id, PROTOCOL, str(fault))
        if token and stream and stream.token != token:
            stream = stream.abort(None, 'opened anew')  # 5.5
        if frame.type == RESET:
            if stream:
                stream.abort(bytes(message), 'reset by the client: %d %s' % decode_reset(frame.payload))
        elif stream and token:
            if stream.is_open:
                stream.send(ACCEPT)  # 5.5
        elif stream:
            stream.receive(frame)
        elif frame.type in (OPEN, DATA, RESUME, PING):
            ended_token, answer, _ = self.ended.get(key, (None, None, 0))
            if answer and token in (None, ended_token):
                self.send(answers, answer)  # 8.4
            elif token:
                self.open(key, parts[1], token, frame.limit)
            else:
                self.send_reset(answers, id, UNKNOWN_STREAM, 'unknown stream')  # 8.5

    def open(self, key, service, token, credit):
        if service not in self.services:
            return self.send_reset(*key, UNKNOWN_SERVICE, f'no service {service}')
        if len(self.streams) >= MAX_STREAMS:
            return self.send_reset(*key, LIMIT, f'{MAX_STREAMS} streams')
        self.ended.pop(key, None)
        stream = Stream(self, *key, token, credit)
        try:
            self.streams[key] = stream
            stream.dial(self.services[service])
        except OSError as problem:
            del self.streams[key]
            self.send_reset(*key, UNREACHABLE, str(problem))
        print('open', *key, flush=True)

    def remember(self, stream, answer, reason):
        """8.4"""
        del self.streams[stream.key]
        self.ended[stream.key] = (stream.token, answer, time.monotonic())
        print('end', *stream.key, reason, flush=True)

    def forget(self, now):
        while self.ended:
            key, (_, _, ended_at) = next(iter(self.ended.items()))
            if now - ended_at < RESUME_TIMEOUT_S and len(self.ended) <= MAX_ENDED:
                return
            del self.ended[key]

    # --- the loop

    def run(self):
        connect_at = wait_s = 0
        while True:
            now = time.monotonic()
            if self.client.socket() is None and now >= connect_at:
                wait_s = min(8, max(1, 2 * wait_s))
                connect_at = now + wait_s
                try:
                    self.client.reconnect()
                except OSError as problem:
                    print('no connection:', problem, flush=True)
            if self.is_ready:
                wait_s = 0
            self.turn()
            now = time.monotonic()
            for stream in list(self.streams.values()):
                stream.tick(now)
            self.forget(now)
            self.client.loop_misc()

    def turn(self):
        """Waits for sockets, a little, and serves them."""
        streams = list(self.streams.values())
        busy = [stream for stream in streams if self.has_room and stream.pump()]  # a chunk of each in turn
        link = self.client.socket()
        reads = [s for s in streams if s.is_open and not s.eof and len(s.buffer) < max(WINDOW, s.flight)]
        writes = [s for s in streams if s.waiting or not s.is_open]
        by_socket = {s.sock: s for s in streams}
        readable, writable, _ = select.select(
            [s.sock for s in reads] + ([link] if link else []),
            [s.sock for s in writes] + ([link] if link and self.client.want_write() else []),
            [], 0 if busy and self.has_room else ACK_S if any(s.ack_at for s in streams) else 0.25)
        if link in writable:
            self.client.loop_write()
        if link in readable:
            self.client.loop_read()
        for ready, serve in ((writable, Stream.writable), (readable, Stream.readable)):
            for sock in ready:
                stream = by_socket.get(sock)
                if stream and self.streams.get(stream.key) is stream:
                    serve(stream)

    def stop(self):
        for stream in list(self.streams.values()):
            stream.reset(SHUTDOWN, 'the agent stops')
        self.publish_status(online=False)  # 3.2
        self.client.disconnect()


def parse_service(text):
    name, _, target = text.partition('=')
    host, _, port = target.rpartition(':')
    if not NAME.fullmatch(name) or not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f'{text} is not name=host:port')
    return name, (host.strip('[]'), int(port))


def main():
    parser = argparse.ArgumentParser(description='Offers TCP services of this machine over MQTT.')
    parser.add_argument('--broker', required=True)
    parser.add_argument('--port', type=int, default=1883)
    parser.add_argument('--id', required=True, help='MQTT client id: the name of the agent')
    parser.add_argument('--service', type=parse_service, action='append', required=True, metavar='NAME=HOST:PORT')
    parser.add_argument('--topic-prefix', default='$tunnel')
    parser.add_argument('--username')
    parser.add_argument('--password')
    options = parser.parse_args()
    agent = Agent(options, dict(options.service))
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        agent.run()
    except KeyboardInterrupt:
        agent.stop()


if __name__ == '__main__':
    main()
