# A session as bytes: from one worker process to another.

from ext.mqtt.router cimport Router
from ext.mqtt.session cimport Session

cdef bytes pack_session(Session session, Router router)
# Makes the session one of the router's, of a client that is away. None if its user is not known here.
cdef Session unpack_session(bytes data, Router router)
