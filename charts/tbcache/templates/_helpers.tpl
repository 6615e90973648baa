{{- define "tbcache.name" -}}
{{- if contains "tbcache" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-tbcache" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "tbcache.labels" -}}
app.kubernetes.io/name: tbcache
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "tbcache.selector" -}}
app.kubernetes.io/name: tbcache
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{/* The variables and the image of a part: dict "root" . "part" "worker" "command" (list ...) */}}
{{- define "tbcache.container" -}}
name: {{ .part }}
image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
  {{- range .command }}
  - {{ . | quote }}
  {{- end }}
env:
  - {name: TBCACHE_DATA_DIR, value: /data}
  {{- range $name, $value := .root.Values.settings }}
  - name: {{ $name }}
    value: {{ $value | toString | quote }}
  {{- end }}
envFrom:
  - secretRef:
      name: {{ .root.Values.existingSecret }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - {name: data, mountPath: /data}
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{/* What the pods of all parts have alike. */}}
{{- define "tbcache.pod" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- else }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tbcache.selector" . | nindent 8 }}
{{- end }}
# Answers that the database has not taken yet. They are in Redis as well, for 7 days.
volumes:
  - name: data
    emptyDir: {}
  - name: tmp
    emptyDir: {}
{{- end }}

{{/* Healthy while the process is heard of in Redis; a pod's host name is its own. */}}
{{- define "tbcache.heardOf" -}}
exec:
  command:
    - python
    - -c
    - |
      import socket, sys
      from tbcache import get_usage_monitor
      alive = {worker.host for worker in get_usage_monitor().get_workers() if worker.is_alive}
      sys.exit(socket.gethostname() not in alive)
initialDelaySeconds: 20
periodSeconds: 30
timeoutSeconds: 10
failureThreshold: 4
{{- end }}
