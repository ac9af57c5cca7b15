# SPDX-License-Identifier: GPL-2.0-only
noinst_LIBRARIES += backend/virtio/libvirtio.a
backend_virtio_libvirtio_a_SOURCES = \
	backend/virtio/grants.h \
	backend/virtio/gmem.c backend/virtio/gmem.h \
	backend/virtio/gmem_access.c \
	backend/virtio/gmem_map.c \
	backend/virtio/gmem_priv.h \
	backend/virtio/gmem_window.c \
	backend/virtio/virtqueue.c backend/virtio/virtqueue.h \
	backend/virtio/virtqueue_packed.c \
	backend/virtio/virtqueue_priv.h \
	backend/virtio/virtqueue_split.c
backend_virtio_libvirtio_a_CFLAGS = $(COMPILE_SERVER)
