# cython: language_level=3
"""A session as bytes: from one worker process to another. Both run the same release on the same machine.

Slots of the device index are a process's own, so devices go by their ids; times go as what is left of them. Retained
messages that a new subscription is still to be told are not handed over.
"""

import msgspec

from ext.mqtt.access cimport device_may_see
from ext.mqtt.message cimport NEVER, Message, monotonic_ms, new_message
from ext.mqtt.outbox cimport Delivery, new_delivery
from ext.mqtt.packet_ids cimport PacketIds, add_id, holds_id
from ext.mqtt.router cimport Router
from ext.mqtt.session cimport Session, Will
from ext.mqtt.subscriptions cimport Subscription, split_shared

ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder()


cdef object left_of(long long moment_ms):
    return None if moment_ms == NEVER else max(moment_ms - monotonic_ms(), 0)


cdef long long moment(object left_ms) except? -1:
    return NEVER if left_ms is None else monotonic_ms() + <long long>left_ms


cdef tuple pack_message(Message message):
    if message is None:
        return None
    return (
        message.topic, message.payload, message.properties, message.qos, message.is_retained,
        left_of(message.expires_ms),
    )


cdef Message unpack_message(list parts):
    if parts is None:
        return None
    topic, payload, properties, qos, is_retained, left_ms = parts
    return new_message(topic, payload, properties, qos, is_retained, moment(left_ms))


cdef tuple pack_delivery(Delivery delivery):
    return (
        delivery.packet_id, delivery.qos, delivery.is_retained, delivery.is_released, delivery.identifiers,
        pack_message(delivery.message),
    )


cdef list ids_of(Session session):
    """Packet ids of QoS 2 messages that are ours for good. One whose PUBREC still waits for the disk is left out: the
    client sends it again, and taken twice it is stored once."""
    cdef unsigned int i
    cdef PacketIds* ids = &session.inbound
    return [
        ids.ids[i] for i in range(ids.mask + 1 if ids.ids != NULL else 0)
        if ids.ids[i] and not holds_id(&session.unsure, ids.ids[i])
    ]


cdef bytes pack_session(Session session, Router router):
    cdef Subscription subscription
    cdef Delivery delivery
    cdef Will will = session.will
    cdef list inflight = [], queue = []
    cdef unsigned short last_packet_id = 0
    if session.outbox is not None:
        inflight = [pack_delivery(delivery) for delivery in session.outbox.inflight.values()]
        queue = [pack_delivery(delivery) for delivery in session.outbox.queue]
        last_packet_id = session.outbox.last_packet_id
    return ENCODER.encode((
        session.key,
        session.expiry_s,
        left_of(session.ends_ms),
        left_of(session.will_ms),
        None if will is None else (
            pack_message(will.message), will.delay_s, will.expiry_s if will.has_expiry else None,
            router.index.device_id(will.sender).encode() if will.sender >= 0 else None,
            will.scope, will.encoding, will.reason,
        ),
        [
            (subscription.filter, subscription.qos, subscription.identifier, subscription.is_no_local,
             subscription.keeps_retain)
            for subscription in (session.subscriptions or {}).values()
        ],
        ids_of(session),
        last_packet_id,
        inflight,
        queue,
    ))


cdef Session unpack_session(bytes data, Router router):
    cdef Session session
    cdef Will will
    cdef Delivery delivery
    cdef int device = -1, child = -1
    cdef bytes user_name
    (key, expiry_s, ends_left_ms, will_left_ms, will_parts, subscriptions, ids, last_packet_id, inflight,
     queue) = DECODER.decode(data)
    user_name = key.partition(b"\0")[0]
    owner = user_name
    if not user_name.startswith(b"operator:"):
        device = router.index.find(user_name, <size_t>len(user_name))
        if device < 0:
            return None
        owner = device
    session = router.sessions.get(key)
    if session is not None:
        if session.link is not None:
            return session                  # the client is here already
        router.release(session)
    session = router.open(key, owner, device, expiry_s)
    session.ends_ms = moment(ends_left_ms)
    session.will_ms = moment(will_left_ms)
    if will_parts is not None:
        will = session.will = Will.__new__(Will)
        message, will.delay_s, lives_s, sender, will.scope, will.encoding, will.reason = will_parts
        will.message = unpack_message(message)
        will.has_expiry = lives_s is not None
        will.expiry_s = lives_s or 0
        will.sender = -1 if sender is None else router.index.find(sender, <size_t>len(sender))
    for filter, qos, identifier, is_no_local, keeps_retain in subscriptions:
        child = -1
        inner, _ = split_shared(filter)
        if device >= 0 and not device_may_see(router.index, device, user_name, inner, &child):
            continue                    # its device has moved meanwhile
        router.attach(Subscription(session, filter, qos, identifier, is_no_local, keeps_retain, child))
    for packet_id in ids:
        if not add_id(&session.inbound, packet_id):
            raise MemoryError
    if inflight or queue or last_packet_id:
        session.box().last_packet_id = last_packet_id
    for packet_id, qos, is_retained, is_released, identifiers, message in inflight:
        delivery = new_delivery(
            unpack_message(message), qos, is_retained, tuple(identifiers) if identifiers else None, None
        )
        delivery.packet_id = packet_id
        delivery.is_released = is_released
        session.outbox.inflight[packet_id] = delivery
        if delivery.message is not None:
            session.outbox.charge(delivery)
    for _, qos, is_retained, _, identifiers, message in queue:
        session.outbox.keep(
            new_delivery(unpack_message(message), qos, is_retained, tuple(identifiers) if identifiers else None, None)
        )
    return session
