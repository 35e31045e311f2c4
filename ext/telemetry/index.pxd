# The device index: device ids, types and metrics to numbers. Read by every transport (who is this?) and by resolve.

cdef enum DeviceFlag:
    DEVICE_ACTIVE = 1
    DEVICE_GATEWAY = 2

cdef struct Device:
    unsigned int device_num
    unsigned int gateway_num        # 0: none
    unsigned short type_num
    unsigned short ward_slot        # into DeviceIndex.wards
    unsigned char flags             # DeviceFlag
    unsigned char default_encoding  # Encoding of the device's type

cdef class DeviceIndex:
    # Slot of a device id, or -1. A slot stays the device's for the life of the process, decommissioned or not.
    cdef int find(self, const unsigned char* device_id, size_t size) noexcept
    # Valid until the next put; slot must come from find().
    cdef Device* at(self, int slot) noexcept
