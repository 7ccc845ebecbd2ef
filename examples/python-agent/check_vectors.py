#!/usr/bin/env python3
"""Checks the codec of agent.py against docs/tunnel-protocol-vectors.json, whose path is the argument."""
import json
import sys

sys.dont_write_bytecode = True
import agent

TYPES = 'OPEN ACCEPT DATA ACK RESUME RESET PING PONG'.split()
FLAG_BITS = {'FIN': agent.FIN, 'GAP': agent.GAP}


def to_bytes(value):
    if isinstance(value, str):
        return bytes.fromhex(value)
    return bytes.fromhex(value['hex']) * value['times']


def is_fault(call, *arguments):
    try:
        call(*arguments)
    except agent.Fault:
        return True
    return False


def main():
    with open(sys.argv[1], encoding='utf-8') as file:
        vectors = json.load(file)
    count = 0

    for vector in vectors['frames']:
        frame = bytes.fromhex(vector['header']) + to_bytes(vector['payload'])
        expected = agent.Frame(TYPES.index(vector['type']) + 1, sum(FLAG_BITS[flag] for flag in vector['flags']),
                               vector['stream'], vector['offset'], vector['acked'], vector['limit'],
                               to_bytes(vector['payload']))
        assert agent.decode(frame, vector['from']) == expected, vector['name']
        assert agent.encode(*expected) == frame, vector['name']
        count += 1

    for vector in vectors['malformed']:
        frame = bytes.fromhex(vector['hex']) + to_bytes(vector.get('payload', ''))
        assert is_fault(agent.decode, frame, vector['from']), vector['name']
        count += 1

    for vector in vectors['opens']:
        if 'fault' in vector:
            assert is_fault(agent.decode_open, vector['text'].encode()), vector['name']
        else:
            assert agent.decode_open(vector['text'].encode()) == vector['token'], vector['name']
        count += 1

    for vector in vectors['resets']:
        assert agent.decode_reset(bytes.fromhex(vector['payload'])) == (vector['code'], vector['reason']), vector
        count += 1

    for vector in vectors['topics']:
        parts = None if 'invalid' in vector else tuple(vector[part] for part in ('agent', 'service', 'client', 'direction'))
        assert agent.parse_topic(vector['topic'], vector['prefix']) == parts, vector['topic']
        count += 1

    print(count, 'vectors agree')


if __name__ == '__main__':
    main()
