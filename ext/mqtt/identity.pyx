# cython: language_level=3
"""Who a connection is: a device, a gateway or an operator; and so what it may publish and see."""

from libc.string cimport memcmp

from ext.mqtt.access cimport covers, device_may_see, family_of, is_of_family
from ext.mqtt.hub cimport TRAFFIC_GATEWAYS, Hub
from ext.mqtt.packet cimport Connect
from ext.mqtt.reason cimport RC_BAD_USER_NAME_OR_PASSWORD, RC_NOT_AUTHORIZED, RC_SERVER_UNAVAILABLE
from ext.mqtt.session cimport Session
from ext.telemetry.frames cimport ENCODING_UNKNOWN, REASON_UNSUPPORTED_TOPIC, SCOPE_GATEWAY
from ext.telemetry.index cimport DEVICE_GATEWAY, Device
from ext.telemetry.topic cimport TOPIC_FOREIGN, TOPIC_TELEMETRY, Topic, foreign_encoding, parse_below_id, parse_topic


cdef class Known(Framed):
    """A connection of somebody."""

    cdef str authenticate(self, Connect* connect, ReasonCode* code):
        """Sets who this is. Returns None, or what to count; then `code` says how to refuse."""
        cdef Hub hub = self.hub
        cdef int slot
        code[0] = RC_BAD_USER_NAME_OR_PASSWORD
        if not (connect.has_username and connect.has_password):
            return "no_credentials"
        self.user_name = connect.username.at[:connect.username.size]
        password = connect.password.at[:connect.password.size]
        if self.user_name.startswith(b"operator:"):
            self.operator = hub.index.authenticate_operator(self.user_name[9:], password)
            if self.operator is None:
                if hub.index.awaits_snapshot:
                    code[0] = RC_SERVER_UNAVAILABLE
                    return "index_not_loaded"
                return "wrong_token"
            self.owner = self.user_name
            return None
        slot = hub.index.authenticate(self.user_name, password)
        if slot < 0:
            if slot == -4:
                code[0] = RC_SERVER_UNAVAILABLE
                return "index_not_loaded"
            if slot == -3:
                code[0] = RC_NOT_AUTHORIZED
                return "decommissioned"
            return "unknown_device" if slot == -1 else "wrong_token"
        if hub.index.at(slot).flags & DEVICE_GATEWAY:
            self.traffic = TRAFFIC_GATEWAYS
        self.device = slot
        self.owner = slot
        self.id = self.user_name
        self.id_size = <size_t>len(self.user_name)
        return None

    cdef int whose(self, Publish* publish, unsigned char* scope, unsigned char* encoding,
                   unsigned char* reason) noexcept:
        """Slot of the device whose readings these are: the topic's, or the gateway's own; or NOBODY."""
        cdef const unsigned char* at = publish.topic.at
        cdef size_t size = publish.topic.size
        cdef Topic topic
        cdef Hub hub = self.hub
        cdef Device* own
        cdef int child
        if size > 8 + self.id_size and memcmp(at, b"cf/v1/d/", 8) == 0 and at[8 + self.id_size] == b"/" \
                and memcmp(at + 8, self.id, self.id_size) == 0:
            if parse_below_id(at + 8 + self.id_size, size - 8 - self.id_size, encoding) != TOPIC_TELEMETRY:
                reason[0] = REASON_UNSUPPORTED_TOPIC
            return self.device
        if parse_topic(at, size, &topic) == TOPIC_FOREIGN:
            own = hub.index.at(self.device)
            if own.flags & DEVICE_GATEWAY and is_of_family(family_of(own.default_encoding), at, size):
                scope[0] = SCOPE_GATEWAY
                encoding[0] = own.default_encoding
                if foreign_encoding(at, size) == ENCODING_UNKNOWN:
                    reason[0] = REASON_UNSUPPORTED_TOPIC
                return self.device
            return NOBODY
        if topic.kind != TOPIC_TELEMETRY:
            reason[0] = REASON_UNSUPPORTED_TOPIC
        encoding[0] = topic.encoding
        scope[0] = topic.scope
        if not hub.index.at(self.device).flags & DEVICE_GATEWAY:
            return NOBODY
        if topic.scope == SCOPE_GATEWAY:
            if topic.id_size == self.id_size and memcmp(topic.id, self.id, self.id_size) == 0:
                return self.device
            return NOBODY
        child = hub.index.find(topic.id, topic.id_size)
        if child < 0 or hub.index.at(child).gateway_num != hub.index.at(self.device).device_num:
            return NOBODY
        return child

    def may_publish(self, bytes topic not None) -> bool:
        """Whether an operator may: by its filters, and never what only a device can say of itself."""
        cdef Topic parts
        if parse_topic(topic, <size_t>len(topic), &parts) == TOPIC_TELEMETRY:
            return False
        return any(covers(filter, topic) for filter in self.operator.publish_filters)

    cdef bint may_see(self, bytes filter, int* child) except -1:
        if self.operator is None:
            return device_may_see(self.hub.index, self.device, self.user_name, filter, child)
        for allowed in self.operator.subscribe_filters:
            if covers(allowed, filter):
                return True
        return False

    cdef Session need_session(self):
        """This connection's session, which only now has something to keep: it ends with the connection."""
        if self.session is None:
            self.session = self.hub.router.open(self.user_name + b"\0" + self.client_id, self.owner, self.device, 0)
            self.session.link = self
        return self.session
