# Image, calicoctl and CNI plugins are on the host, and it forwards packets.
{%- from "calico/map.jinja" import calico, ipv6 with context %}

include:
  - calico.preflight

# First of all changes: where the image cannot be had, nothing else has been touched.
calico/node's image is on the host:
  calico.image_present:
    - failhard: true
    - require:
      - sls: calico.preflight

{%- if calico.calicoctl.source %}

calicoctl is installed:
  file.managed:
    - name: {{ calico.calicoctl.path | json }}
    - source: {{ calico.calicoctl.source | json }}
    - source_hash: {{ calico.calicoctl.source_hash | json }}
    - mode: '0755'
    - makedirs: true
    - require:
      - calico: calico/node's image is on the host
{%- endif %}

{%- if calico.cni.enabled and calico.cni.plugins.source %}

CNI plugins are installed:
  archive.extracted:
    - name: {{ calico.cni.bin_dir | json }}
    - source: {{ calico.cni.plugins.source | json }}
    - source_hash: {{ calico.cni.plugins.source_hash | json }}
    - source_hash_update: true
    - enforce_toplevel: false
    - require:
      - calico: calico/node's image is on the host
{%- endif %}

The host forwards packets:
  sysctl.present:
    - names:
      - net.ipv4.ip_forward
{%- if ipv6 %}
      - net.ipv6.conf.all.forwarding
{%- endif %}
    - value: 1
    - config: /etc/sysctl.d/60-calico.conf
    - require:
      - calico: calico/node's image is on the host

Directories that calico-node mounts exist:
  file.directory:
    - names:
      - /var/log/calico
      - /var/run/calico
    - require:
      - calico: calico/node's image is on the host
