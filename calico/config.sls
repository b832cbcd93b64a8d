# Certificates, calicoctl.cfg, environment and unit are as the pillar says.
{%- from "calico/map.jinja" import calico, certificates with context %}

include:
  - calico.install

# Before the first of them changes: calico:on_failure may ask for what runs now.
What runs can be restored:
  calico.restorable:
    - require:
      - sls: calico.install

{%- for certificate in certificates %}

etcd's {{ certificate.part }} is installed:
  file.managed:
    - name: {{ certificate.path }}
{%-   if "-----BEGIN " in certificate.given %}
    - contents_pillar: calico:etcd:tls:{{ certificate.part }}
{%-   else %}
    - source: {{ certificate.given | json }}
{%-   endif %}
    - mode: '{{ "0600" if certificate.part == "key" else "0644" }}'
    - makedirs: true
    - dir_mode: '0755'
    - show_changes: {{ certificate.part != "key" }}
    - require:
      - calico: What runs can be restored
{%- endfor %}

calicoctl knows the datastore:
  file.managed:
    - name: /etc/calico/calicoctl.cfg
    - source: salt://calico/files/calicoctl.cfg.jinja
    - template: jinja
    - mode: '{{ "0600" if calico.etcd.password else "0644" }}'
    - show_changes: {{ not calico.etcd.password }}
    - makedirs: true
    - require:
      - calico: What runs can be restored

calico-node's environment is written:
  file.managed:
    - name: /etc/calico/calico-node.env
    - source: salt://calico/files/calico-node.env.jinja
    - template: jinja
    - mode: '0600'
    - show_changes: false
    - makedirs: true
    - require:
      - calico: What runs can be restored

calico-node's unit is written:
  file.managed:
    - name: /etc/systemd/system/calico-node.service
    - source: salt://calico/files/calico-node.service.jinja
    - template: jinja
    - mode: '0644'
    - require:
      - calico: What runs can be restored
